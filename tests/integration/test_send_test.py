"""`send-test` against a server that behaves like the real APIs."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consumer.cli import send_test
from consumer.cli.main import main
from providers.sandbox import Answer, Fault, Sandbox, Settings, running_sandbox

DEFAULT, DLP, API = "a" * 32, "b" * 32, "opsgenie-key"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    keys = Settings(pagerduty_keys=frozenset({DEFAULT, DLP}), opsgenie_keys=frozenset({API}))
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
    sandbox.faults.add(Fault(Answer(status=status)))
    assert await _send(config, "--provider", "pagerduty") == 1
    assert capsys.readouterr().err.startswith(f"pagerduty, route default: {word}: ")


def test_the_parser_needs_a_provider() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    send_test.add_parser(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["send-test", "--config", "x"])
