"""Exhaustive models: every small case, judged by what must be true, and by weakened copies that are found out."""
