"""One partition of a pipeline's input: where its task begins, how far it has come, whether it is caught up."""
