"""What several commands take on their command line."""

import argparse


def count(text: str) -> int:
    """A whole number of at least 1. Raises `argparse.ArgumentTypeError`."""
    if not text.isdecimal() or int(text[:18]) == 0:
        raise argparse.ArgumentTypeError("must be a whole number of at least 1")
    return int(text[:18])
