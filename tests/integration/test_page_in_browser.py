"""The sandbox's page in a real browser: what comes is seen, hostile text stays text, the buttons do what they say."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from providers.sandbox import Sandbox, running_sandbox
from tests.support import hostile
from tests.support.browser import chromium, needed, resize

KEY = "a" * 32
SECONDS = 20.0


class Looking:
    """Somebody who looks at the page. Every method waits until it is so."""

    def __init__(self, chrome: Chrome) -> None:
        self.chrome = chrome

    def until(self, what: Callable[[], Any]) -> Any:
        return WebDriverWait(self.chrome, SECONDS, poll_frequency=0.05).until(lambda _: what())

    def script(self, text: str, *arguments: Any) -> Any:
        return self.chrome.execute_script(text, *arguments)

    def texts(self, selector: str) -> list[str]:
        return list(
            self.script("return [...document.querySelectorAll(arguments[0])].map(n => n.textContent)", selector)
        )

    def sees(self, selector: str, text: str) -> None:
        self.until(lambda: any(text in one for one in self.texts(selector)))

    def presses(self, selector: str, text: str) -> None:
        def found() -> Any:
            buttons = self.chrome.find_elements(By.CSS_SELECTOR, f"{selector} button")
            return next((one for one in buttons if one.text == text and one.is_displayed()), None)

        self.until(found).click()

    def errors(self) -> list[dict[str, Any]]:
        return list(self.chrome.get_log("browser"))  # type: ignore[no-untyped-call]  # selenium has it so


async def _trigger(http: aiohttp.ClientSession, sandbox: Sandbox, dedup_key: str, title: str) -> int:
    payload = {"summary": title, "source": "a", "severity": "critical", "custom_details": {"text": title}}
    event = {"routing_key": KEY, "event_action": "trigger", "dedup_key": dedup_key, "payload": payload}
    async with http.post(f"{sandbox.url}/v2/enqueue", json=event) as answer:
        return answer.status


async def test_the_page_in_a_browser() -> None:
    needed()
    async with running_sandbox() as sandbox, aiohttp.ClientSession() as http:
        loop = asyncio.get_running_loop()

        def send(dedup_key: str, title: str) -> int:
            return asyncio.run_coroutine_threadsafe(_trigger(http, sandbox, dedup_key, title), loop).result(SECONDS)

        await asyncio.to_thread(_look, sandbox, send)


def _look(sandbox: Sandbox, send: Callable[[str, str], int]) -> None:
    with chromium() as chrome:
        looking = Looking(chrome)
        chrome.get(f"{sandbox.url}/")
        looking.sees("#live", "Live")
        looking.sees("#empty", "Nobody has been paged yet")
        _sees_what_comes(looking, send)
        _opens_one(looking)
        _acknowledges_and_resolves(looking, sandbox)
        _breaks_and_mends(looking, send)
        _is_safe(looking, sandbox)


def _sees_what_comes(looking: Looking, send: Callable[[str, str], int]) -> None:
    for number, text in enumerate(hostile.ALL):
        assert send(f"hostile-{number}", text) == 202
    looking.until(lambda: len(looking.texts(".incident")) == len(hostile.ALL))
    assert send("k", "[forbidden_path] /etc/shadow") == 202
    looking.sees(".incident:first-child .title", "[forbidden_path] /etc/shadow")
    looking.sees(".incident .title", hostile.MARKUP)
    looking.sees(".provider .numbers .open", str(len(hostile.ALL) + 1))
    for width in (1280, 800, 400):
        resize(looking.chrome, width, 900)
        assert looking.script("return document.documentElement.scrollWidth") <= width
    resize(looking.chrome, 1280, 900)


def _opens_one(looking: Looking) -> None:
    markup = next(
        line
        for line in looking.chrome.find_elements(By.CSS_SELECTOR, ".incident")
        if hostile.MARKUP in line.find_element(By.CSS_SELECTOR, ".title").text.replace("\n", "")
    )
    markup.find_element(By.CSS_SELECTOR, ".opener").click()
    looking.sees(".steps .step", "Triggered by the service")
    looking.sees(".steps .said", hostile.MARKUP)
    looking.sees(".payload pre", '"severity": "critical"')
    assert KEY not in " ".join(looking.texts("body"))


def _acknowledges_and_resolves(looking: Looking, sandbox: Sandbox) -> None:
    [one] = sandbox.incidents("pagerduty", dedup_key="k")
    line = f'.incident[data-id="{one.id}"]'
    looking.presses(line, "Acknowledge")
    looking.sees(f"{line} .state", "Acknowledged")
    looking.sees(f"{line} .age", "by a person, ")
    assert (one.status, one.acknowledged_by) == ("acknowledged", "person")
    looking.presses(line, "Resolve")
    looking.sees(f"{line} .state", "Resolved")
    looking.sees(f"{line} .age", "by a person, ")
    assert (one.status, one.ended_by) == ("ended", "person")
    looking.presses("#by-state", "Resolved")
    looking.until(lambda: [two.is_displayed() for two in _lines(looking)].count(True) == 1)
    looking.presses("#by-state", "All")
    looking.until(lambda: all(two.is_displayed() for two in _lines(looking)))


def _lines(looking: Looking) -> list[Any]:
    return looking.chrome.find_elements(By.CSS_SELECTOR, ".incident")


def _breaks_and_mends(looking: Looking, send: Callable[[str, str], int]) -> None:
    looking.presses("#provider-pagerduty", "503")
    looking.sees("#provider-pagerduty .health", "answers 503")
    assert send("late", "not now") == 503
    looking.sees('.request[data-outcome="refused"] .answer', "503")
    looking.presses("#provider-pagerduty", "Mend it now")
    looking.sees("#provider-pagerduty .health", "answers normally")
    assert send("late", "now") == 202
    looking.sees(".incident:first-child .title", "now")


def _is_safe(looking: Looking, sandbox: Sandbox) -> None:
    """Nothing of an event ran or was loaded, and nothing of the page came from elsewhere."""
    assert "owned" not in looking.chrome.title
    assert looking.texts("#incidents img, #incidents script") == []
    loaded = looking.script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert loaded
    assert all(name.startswith(f"{sandbox.url}/") for name in loaded)
    assert looking.errors() == []
    refused = looking.script(
        "try { document.body.innerHTML = '<b>x</b>'; return 'done' } catch (error) { return error.name }"
    )
    assert refused == "TypeError"
