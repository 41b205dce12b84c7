"""Opens the page of what people would see in the user's browser, where there is one."""

import os
import sys
import webbrowser
from collections.abc import Mapping


def can_open(platform: str = sys.platform, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there is a desktop to open it on. Without one, a browser for terminals would take over this one."""
    if platform in ("darwin", "win32"):
        return True
    return any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def open_page(url: str) -> bool:
    """Open it; whether a browser has taken it. Waits for the browser's starter, so it belongs into a thread."""
    try:
        return can_open() and webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False
