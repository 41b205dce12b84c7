"""A headless Chromium, as Debian's packages ``chromium`` and ``chromium-driver`` have it, driven by Selenium."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.support.tools import missing

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_INSTALL = "apt-get install --no-install-recommends chromium chromium-driver"


def needed() -> tuple[str, str]:
    """Where the browser and its driver are. Without them the test is skipped; in CI it fails."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        missing("chromium", f"(or its driver): {_INSTALL}")
    return browser, driver


@contextmanager
def chromium(*, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator[Chrome]:
    """A browser for the length of the block. Nothing but loopback is resolved: what needs the internet fails."""
    browser, driver = needed()
    options = ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("headless=new", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    if os.geteuid() == 0:  # Chromium's own sandbox does not work for root
        options.add_argument("--no-sandbox")
    chrome = Chrome(options, Service(driver))
    try:
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
        resize(chrome, width, height)
        yield chrome
    finally:
        chrome.quit()


def resize(chrome: Chrome, width: int, height: int) -> None:
    """Give the page this many pixels, whatever the window is."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
