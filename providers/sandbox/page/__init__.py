"""The sandbox's page for people: what PagerDuty and OpsGenie would show, live.

`Page` answers its requests, `providers.sandbox.page.shown` says what it is given, ``static/`` runs in the browser.
"""

from providers.sandbox.page.page import Page

__all__ = ["Page"]
