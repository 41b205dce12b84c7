"""`send-test` against a server that behaves like the real APIs."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from consumer.cli import send_test
from consumer.cli.main import main
from providers.inspection import look_for
from providers.sandbox import FailLater, Fault, FaultyAnswer, Sandbox, SandboxSettings, running_sandbox

DEFAULT, DLP, API = "a" * 32, "b" * 32, "opsgenie-key"
TOKEN = "y_NbAkKc66ryYTWUXYEu"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    keys = SandboxSettings(pagerduty_keys=frozenset({DEFAULT, DLP}), opsgenie_keys=frozenset({API}))
    async with running_sandbox(keys) as sandbox:
        yield sandbox


@pytest.fixture
def config(sandbox: Sandbox, tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
exporters:
  alerting:
    enabled: false      # a provider can be tested before it is switched on
    min_severity: critical
    pagerduty:
      routing_key: {DEFAULT}
      api_endpoint: {sandbox.url}
      routing: {{by_guard: {{secret_leak: {DLP}}}}}
    opsgenie: {{api_key: {API}, api_endpoint: "{sandbox.url}"}}
"""
    )
    return str(path)


async def _send(config: str, *arguments: str) -> int:
    return await asyncio.to_thread(main, ["send-test", "--config", config, *arguments])


@pytest.mark.parametrize("provider", ["pagerduty", "opsgenie"])
async def test_one_incident_that_says_it_is_a_test_and_its_end(
    provider: str, config: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await _send(config, "--provider", provider) == 0
    assert capsys.readouterr().out == (
        f"{provider}, route default: accepted as {send_test.DEDUP_KEY}; the same command with --resolve resolves it\n"
    )
    (incident,) = sandbox.open_incidents()
    assert (incident.provider, incident.dedup_key) == (provider, "clawdstrike-alerting:test")
    assert "TEST notification" in incident.title
    assert incident.severity in ("critical", "P1")

    assert await _send(config, "--provider", provider) == 0  # the same incident again
    assert len(sandbox.incidents()) == 1

    assert await _send(config, "--provider", provider, "--resolve") == 0
    assert "is resolved" in capsys.readouterr().out
    assert sandbox.open_incidents() == []


async def test_through_the_route_that_is_named(config: str, sandbox: Sandbox) -> None:
    assert await _send(config, "--provider", "pagerduty", "--route", "by_guard:secret_leak") == 0
    (incident,) = sandbox.incidents()
    assert incident.key == DLP


async def test_a_refused_key_is_1_and_is_not_told(
    config: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.keys("opsgenie").revoke(API)
    assert await _send(config, "--provider", "opsgenie") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("opsgenie, route default: the key is refused, HTTP 4")
    assert err.count("\n") == 1
    assert API not in err


@pytest.mark.parametrize(("status", "word"), [(400, "rejected, HTTP 400"), (503, "unavailable, HTTP 503")])
async def test_an_answer_that_is_not_accepted_is_1(
    status: int, word: str, config: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.faults.add(Fault(FaultyAnswer(status=status)))
    assert await _send(config, "--provider", "pagerduty") == 1
    assert capsys.readouterr().err.startswith(f"pagerduty, route default: {word}: ")


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("Message is not acceptable", "rejected, HTTP 202: accepted, then failed: Message is not acceptable"),
        ("Integration is disabled", "the key is refused, HTTP 202: accepted, then failed: Integration is disabled"),
    ],
)
async def test_what_is_accepted_and_then_fails_is_1(
    status: str, word: str, config: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.faults.add(Fault(FailLater(status), action="create"))
    assert await _send(config, "--provider", "opsgenie") == 1
    assert capsys.readouterr() == ("", f"opsgenie, route default: {word}\n")


async def test_what_cannot_be_verified_is_said(
    config: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.faults.add(Fault(FaultyAnswer(status=403, body='{"message":"no right to read"}'), action="request_status"))
    assert await _send(config, "--provider", "opsgenie") == 0
    assert capsys.readouterr().out == (
        f"opsgenie, route default: accepted as {send_test.DEDUP_KEY} (not known whether it has come about: its status "
        "cannot be asked for, HTTP 403: no right to read); the same command with --resolve resolves it\n"
    )


def test_the_parser_needs_a_provider() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    send_test.add_parser(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["send-test", "--config", "x"])


@pytest.fixture
def verifying(sandbox: Sandbox, tmp_path: Path) -> str:
    path = tmp_path / "verifying.yaml"
    path.write_text(
        f"""
exporters:
  alerting:
    pagerduty:
      routing_key: {DEFAULT}
      api_endpoint: {sandbox.url}
      rest_endpoint: {sandbox.url}
      rest_token: {TOKEN}
    opsgenie: {{api_key: {API}, api_endpoint: "{sandbox.url}"}}
"""
    )
    return str(path)


async def test_verified_is_an_incident_that_people_can_see(
    verifying: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await _send(verifying, "--provider", "pagerduty", "--verify") == 0
    (incident,) = sandbox.open_incidents()
    accepted, seen = capsys.readouterr().out.splitlines()
    assert "accepted as" in accepted
    assert seen == (
        "pagerduty, route default: incident 1 on service Service 1 is triggered: "
        f"https://sandbox.pagerduty.example/incidents/{incident.id}"
    )


async def test_accepted_and_not_there_is_1_with_what_stands_in_the_way(
    verifying: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_test, "look_for", partial(look_for, patience=0.0))
    sandbox.pagerduty.services.of(DEFAULT).status = "disabled"
    assert await _send(verifying, "--provider", "pagerduty", "--verify") == 1
    out, err = capsys.readouterr()
    assert "accepted as" in out
    assert err == "pagerduty, route default: accepted, but there is no incident: service Service 1 is disabled\n"


async def test_what_cannot_be_asked_is_1_and_shows_no_token(
    verifying: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.faults.add(Fault(FaultyAnswer(status=401), action="look"))
    assert await _send(verifying, "--provider", "pagerduty", "--verify") == 1
    err = capsys.readouterr().err
    assert err == "pagerduty, route default: whether anybody is paged cannot be seen: GET /services: HTTP 401\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--provider", "opsgenie"), "nothing is configured"), (("--provider", "pagerduty", "--resolve"), "give one of")],
)
async def test_what_cannot_be_verified_is_2_and_sends_nothing(
    arguments: tuple[str, ...], said: str, verifying: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await _send(verifying, *arguments, "--verify") == 2
    assert said in capsys.readouterr().err
    assert sandbox.requests() == []
