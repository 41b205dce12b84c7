"""Who may change something at the sandbox."""

import pytest

from providers.sandbox.guard import is_own_host, why_foreign

HERE = "127.0.0.1:8089"


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1:8089", True),
        ("[::1]:8089", True),
        ("192.0.2.7", True),
        ("localhost:8089", True),
        ("sandbox.localhost:1", True),
        ("devbox:8089", True),
        ("evil.example:8089", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("", False),
        ("[::1", False),
    ],
)
def test_a_host_that_can_only_be_this_one(host: str, own: bool) -> None:
    assert is_own_host(host, "devbox") is own


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "sandbox:8089"},
        {"Host": HERE},
        {"Host": HERE, "Origin": f"http://{HERE}"},
        {"Host": HERE, "Origin": f"http://{HERE}", "Sec-Fetch-Site": "same-origin"},
        {"Host": HERE, "Sec-Fetch-Site": "none"},
    ],
)
def test_programs_and_its_own_page_may(headers: dict[str, str]) -> None:
    assert why_foreign("POST", headers, "127.0.0.1") is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": HERE, "Origin": "https://evil.example"},
        {"Host": HERE, "Origin": "null"},
        {"Host": HERE, "Origin": "http://127.0.0.1:8090"},
        {"Host": HERE, "Origin": f"http://{HERE}", "Sec-Fetch-Site": "cross-site"},
        {"Host": HERE, "Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example:8089", "Origin": "http://evil.example:8089"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH", "BREW"])
def test_other_pages_may_not(method: str, headers: dict[str, str]) -> None:
    assert why_foreign(method, headers, "127.0.0.1") is not None


def test_looking_changes_nothing() -> None:
    assert why_foreign("GET", {"Host": HERE, "Origin": "https://evil.example"}, "127.0.0.1") is None
