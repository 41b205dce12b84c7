"""Dead letters as they stand in their topic: listed, and replayed."""
