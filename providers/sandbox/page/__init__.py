"""The sandbox's page for people: what PagerDuty and OpsGenie would show, live.

`Page` answers the page's requests, `providers.sandbox.page.shown` makes the JSON for it, and ``static/`` runs in the
browser.
"""

from providers.sandbox.page.page import Page

__all__ = ["Page"]
