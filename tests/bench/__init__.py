"""Figures of this machine: what the service costs and how long it takes, beside a bare loop that does the same."""
