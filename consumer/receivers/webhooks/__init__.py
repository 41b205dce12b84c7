"""The way back over HTTP: what people do at a provider becomes records of the feedback topic (design section 20)."""
