"""What the service says of itself: log, metrics, health, and the server that shows them."""
