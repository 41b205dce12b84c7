"""Opens the sandbox's page in the user's browser, if there is one."""

import os
import sys
import webbrowser
from collections.abc import Mapping


def can_open(platform: str = sys.platform, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there is a desktop to open a browser on. Without one, a text browser would take over the terminal."""
    if platform in ("darwin", "win32"):
        return True
    return any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def open_page(url: str) -> bool:
    """Open the page. Returns whether a browser was started. This blocks until the browser's starter has returned, so
    call it in a thread."""
    try:
        return can_open() and webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False
