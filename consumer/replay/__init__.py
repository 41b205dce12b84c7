"""The dead letters in their topic: which there are, and their replay."""
