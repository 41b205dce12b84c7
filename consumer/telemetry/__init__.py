"""The log, the metrics and the health of the service, and the server that shows them."""
