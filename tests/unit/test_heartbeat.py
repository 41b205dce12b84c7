"""The heartbeat: it pings while all is well, and nothing that goes wrong with it stops anything else."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from providers.answer import Answer, Unavailable
from providers.heartbeat import Heartbeat
from providers.notify import Classify
from providers.opsgenie.provider import OpsGenie
from providers.opsgenie.settings import OpsGenieSettings
from providers.provider import HeartbeatCalls, Request
from tests.support.log import RecordedLog

API_KEY = "0f1e2d3c-opsgenie-key"
HEARTBEAT = {"enabled": True, "name": "prod/1", "interval_minutes": 5}
PATH = "https://api.opsgenie.com/v2/heartbeats"


class _Sender:
    """Answers with the statuses given, one after another; None is no answer at all."""

    def __init__(self, statuses: Sequence[int | None]) -> None:
        self._statuses = iter(statuses)
        self.urls: list[str] = []

    async def send(self, request: Request, classify: Classify, timeout: float) -> Answer:
        assert timeout == 10.0
        self.urls.append(request.url)
        status = next(self._statuses)
        if status is None:
            return Unavailable(None, "no answer")
        return classify(status, {}, f'{{"message":"said {API_KEY}"}}'.encode())


def _well() -> str | None:
    return None


def calls(**heartbeat: Any) -> HeartbeatCalls:
    settings = OpsGenieSettings.model_validate({"api_key": API_KEY, "heartbeat": HEARTBEAT | heartbeat})
    made = OpsGenie(settings).heartbeat
    assert made is not None
    return made


async def _run(
    statuses: Sequence[int | None], *, turns: int, healthy: Callable[[], str | None] = _well
) -> tuple[RecordedLog, _Sender, list[str], list[float]]:
    log, sender, pings, slept = RecordedLog(), _Sender(statuses), list[str](), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == turns:
            raise asyncio.CancelledError

    heartbeat = Heartbeat(
        calls(),
        sender=sender,
        healthy=healthy,
        log=log,
        on_ping=pings.append,
        sleep=sleep,
    )
    with pytest.raises(asyncio.CancelledError):
        await heartbeat.run()
    assert API_KEY not in repr(log.lines)
    return log, sender, pings, slept


def test_the_requests() -> None:
    for request, url in ((calls().ping, f"{PATH}/prod%2F1/ping"), (calls().exists, f"{PATH}/prod%2F1")):
        assert request is not None
        assert (request.method, request.url, request.body) == ("GET", url, None)
        assert request.headers == {"Authorization": f"GenieKey {API_KEY}"}
        assert API_KEY not in repr(request)


async def test_it_looks_once_and_pings_three_times_an_interval() -> None:
    log, sender, pings, slept = await _run([200, 202, 202, 202], turns=3)
    assert sender.urls == [f"{PATH}/prod%2F1", *[f"{PATH}/prod%2F1/ping"] * 3]
    assert pings == ["accepted"] * 3
    assert slept == [100.0] * 3
    assert log.events() == ["heartbeat_pinged"] * 3


async def test_an_unknown_name_is_a_warning_and_no_end() -> None:
    log, _, pings, _ = await _run([404, 202], turns=1)
    assert log.lines[0] == ("warning", "heartbeat_unknown", {"heartbeat": "prod/1"})
    assert pings == ["accepted"]


@pytest.mark.parametrize("status", [None, 403, 500])
async def test_a_look_that_fails_is_a_warning_and_no_end(status: int | None) -> None:
    log, _, pings, _ = await _run([status, 202], turns=1)
    assert log.events() == ["heartbeat_check_failed", "heartbeat_pinged"]
    assert pings == ["accepted"]


async def test_pings_that_fail_are_counted_and_the_next_one_is_made() -> None:
    log, _, pings, _ = await _run([200, None, 401, 500, 200, 202], turns=5)
    assert pings == ["failed", "failed", "failed", "failed", "accepted"]
    assert log.events() == [*["heartbeat_failed"] * 4, "heartbeat_pinged"]
    assert log.lines[1][2] == {"heartbeat": "prod/1", "status": 401, "reason": "said [secret]"}


async def test_a_ping_is_withheld_while_something_is_wrong() -> None:
    reasons = iter(["partition 3 is not fetching", None])
    log, sender, pings, _ = await _run([200, 202], turns=2, healthy=lambda: next(reasons))
    assert pings == ["withheld", "accepted"]
    assert log.lines[0] == (
        "warning",
        "heartbeat_withheld",
        {"heartbeat": "prod/1", "reason": "partition 3 is not fetching"},
    )
    assert len(sender.urls) == 2


async def test_a_health_check_that_breaks_does_not_vouch_for_anything() -> None:
    def broken() -> str | None:
        raise LookupError(API_KEY)

    log, sender, pings, _ = await _run([200], turns=1, healthy=broken)
    assert pings == ["withheld"]
    assert log.lines[0][2]["reason"] == "the health check failed: LookupError"
    assert len(sender.urls) == 1
