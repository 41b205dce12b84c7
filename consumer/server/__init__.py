"""What operators see over HTTP: health and metrics."""
