"""Providers that the configuration describes: a call for each notification, whose address and body are templates."""
