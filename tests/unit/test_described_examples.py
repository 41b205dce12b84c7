"""Each example of a provider by configuration, as it ships, against a stand-in that checks the documented form."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consumer.config import Config, parse_config
from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.http import HttpSender, create_session
from providers.notification import Acknowledge, AlertSummary, Notification, Origin, Resolve, Trigger
from providers.notify import check, deliver
from providers.provider import Provider
from providers.table import build
from state.alert import Ending
from state.violation import Severity, Violation
from tests.support.stand_ins import ENVIRON, STAND_INS, StandIn, standing_in

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
NOW = 1_779_285_600.0  # 2026-05-20T14:00:00Z
HOSTILE = 'x"}],\n"a": {"b"\\ <!channel> <https://evil.example|here> & {severity} {{}} ${HOME} \u202e\ud800 ä'
FORMS = ("incident-io", "ilert", "goalert", "splunk-on-call", "better-stack")
"""Those that have alerts; Slack has messages."""


def violation(**facts: Any) -> Violation:
    given_facts: dict[str, Any] = {
        "event_id": "0196ee5c-0000-7000-8000-000000000001",
        "event_type": "guard_block",
        "timestamp": "2026-05-20T14:00:00.5Z",
        "guard": "forbidden_path",
        "severity": Severity.HIGH,
        "reason": "Access to forbidden path: /etc/shadow",
        "allowed": False,
        "agent_id": "agent-7",
        "session_id": "sess-1",
        "resource_type": "file",
        "resource_name": "/etc/shadow",
        **facts,
    }
    return Violation(**given_facts)


def trigger(dedup_key: str = "forbidden_path:sess-1", of: Violation | None = None, **facts: Any) -> Trigger:
    of = of or violation()
    alert_summary = AlertSummary(4, NOW, NOW + 90, Severity.CRITICAL)
    return Trigger(
        dedup_key, of, facts.pop("severity", of.severity), alert_summary, origin=Origin("events", 3, 42), **facts
    )


@dataclass
class Told:
    """A provider of an example, beside its stand-in."""

    stand_in: StandIn
    provider: Provider
    sender: HttpSender

    async def tell(self, notification: Notification, route: str | None = None) -> Answer:
        if route is None:
            match notification:
                case Trigger(violation=of):
                    route = self.provider.route_of(of)
                case _:
                    route = "default"
        answer = await deliver(self.sender, self.provider, route, notification, 5.0)
        assert answer is not None
        return answer

    async def all(self, notifications: Sequence[Notification]) -> None:
        for notification in notifications:
            assert isinstance(await self.tell(notification), Accepted), self.stand_in.wrong


def config_of(name: str, stand_in: StandIn) -> Config:
    text = (EXAMPLES / f"http-{name}.yaml").read_text()
    assert stand_in.origin in text
    return parse_config(text.replace(stand_in.origin, stand_in.url), ENVIRON, lambda path: "")


@asynccontextmanager
async def example(name: str, environ: dict[str, str] | None = None) -> AsyncIterator[Told]:
    async with standing_in(STAND_INS[name]()) as stand_in, create_session(4) as session:
        text = (EXAMPLES / f"http-{name}.yaml").read_text().replace(stand_in.origin, stand_in.url)
        config = parse_config(text, {**ENVIRON, **(environ or {})}, lambda path: "")
        yield Told(stand_in, build(name, config.sections[name]), HttpSender(session, proxy_of=lambda url: None))


def test_there_is_a_stand_in_for_each_example() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("http-*.yaml")) == sorted(f"http-{name}" for name in STAND_INS)


@pytest.mark.parametrize("name", FORMS)
async def test_a_problem_is_opened_updated_taken_and_ended(name: str) -> None:
    async with example(name) as told:
        stand_in = told.stand_in
        await told.all([trigger(), trigger(again=True, raised=True, severity=Severity.CRITICAL)])
        ((key, alert),) = stand_in.open.items()
        assert alert.told == 2
        await told.all([Acknowledge("forbidden_path:sess-1")])
        assert alert.acknowledged is (name not in ("incident-io", "goalert"))
        await told.all([Resolve("forbidden_path:sess-1", Ending.QUIET), Resolve("nobody:knows-it")])
        assert (stand_in.open, stand_in.closed, stand_in.wrong) == ({}, [key], [])


@pytest.mark.parametrize("name", STAND_INS)
@pytest.mark.parametrize(
    "of",
    [
        violation(tenant_id="acme-corp", guard="secret_leak", severity=Severity.CRITICAL, labels={"team": "dlp"}),
        violation(
            guard=HOSTILE,
            reason=HOSTILE,
            session_id=HOSTILE,
            resource_name=HOSTILE,
            tenant_id=HOSTILE,
            agent_id=HOSTILE,
        ),
        violation(guard="g" * 5000, reason="&" * 100_000, session_id="s" * 5000, resource_name="<" * 5000),
        violation(reason="", resource_name="", severity=Severity.INFO, resource_port=443, timestamp="never"),
    ],
    ids=("routed", "hostile", "long", "bare"),
)
async def test_whatever_an_event_says_the_form_is_kept(name: str, of: Violation) -> None:
    async with example(name) as told:
        key = f"{of.guard[:40]}:{of.session_id[:40]}".encode(errors="replace").decode()
        await told.all([trigger(key, of), trigger(key, of, again=True), Resolve(key)])
        assert told.stand_in.wrong == []
        if name != "slack":
            assert len(told.stand_in.closed) == 1


@pytest.mark.parametrize("name", FORMS)
async def test_keys_that_differ_in_case_or_spaces_only_are_two_alerts(name: str) -> None:
    keys = ["egress:Sess-1", "egress:sess-1", " egress:sess-1", "egress:sess-1 ", "egress:SESS-1", "egress:\u017fess-1"]
    async with example(name) as told:
        await told.all([trigger(key) for key in keys])
        assert len(told.stand_in.open) == len(keys)
        await told.all([Resolve(keys[0])])
        assert len(told.stand_in.open) == len(keys) - 1


async def test_what_differs_by_route_is_the_secret() -> None:
    async with example("ilert") as told:
        await told.all([trigger(of=violation(guard="secret_leak")), trigger()])
        assert [body["integrationKey"] for body in told.stand_in.requests] == [
            told.stand_in.keys["ILERT_DLP_KEY"],
            told.stand_in.keys["ILERT_INTEGRATION_KEY"],
        ]
    async with example("splunk-on-call") as told:
        assert told.provider.route_of(violation(severity=Severity.CRITICAL)) == "by_severity:critical"
        await told.all([trigger(of=violation(severity=Severity.CRITICAL)), trigger()])
    async with example("slack") as told:
        assert told.provider.route_of(violation(tenant_id="acme-corp")) == "by_tenant:acme-corp"
        await told.all([trigger(of=violation(tenant_id="acme-corp")), trigger()])


@pytest.mark.parametrize("name", ["ilert", "goalert", "splunk-on-call", "better-stack"])
async def test_the_route_check_notifies_nobody(name: str) -> None:
    async with example(name) as told:
        assert isinstance(await check(told.sender, told.provider, "default", 5.0), Accepted)
        assert (told.stand_in.open, told.stand_in.wrong) == ({}, [])


@pytest.mark.parametrize(
    ("name", "variable", "kind"),
    [
        ("incident-io", "INCIDENT_IO_TOKEN", RouteRefused),
        ("goalert", "GOALERT_TOKEN", RouteRefused),
        ("ilert", "ILERT_INTEGRATION_KEY", Rejected),
        ("splunk-on-call", "SPLUNK_ROUTING_KEY", Rejected),
        ("better-stack", "BETTER_STACK_TOKEN", Rejected),
        ("slack", "SLACK_WEBHOOK", Rejected),
    ],
)
async def test_a_wrong_key_is_refused_and_is_not_repeated(name: str, variable: str, kind: type[Answer]) -> None:
    secret = "a-wrong-secret-0123"
    async with example(name, {variable: secret}) as told:
        answer = await told.tell(trigger())
        assert isinstance(answer, Rejected | RouteRefused)
        assert isinstance(answer, kind)
        assert secret not in answer.reason
        assert told.stand_in.wrong, "and the answer does repeat it, where it is in the address"


@pytest.mark.parametrize("name", STAND_INS)
@pytest.mark.parametrize(("status", "kind"), [(503, Unavailable), (429, Throttled), (302, Unavailable)])
async def test_an_outage_is_one(name: str, status: int, kind: type[Answer]) -> None:
    async with example(name) as told:
        told.stand_in.outage = status
        assert isinstance(await told.tell(trigger()), kind)


async def test_the_heartbeat_of_better_stack() -> None:
    async with example("better-stack") as told:
        calls = told.provider.heartbeat
        assert calls is not None
        answer = await told.sender.send(calls.ping, lambda status, *_: Accepted(float(status)), 5.0)
        assert (answer, told.stand_in.pings, told.stand_in.wrong) == (Accepted(200.0), 1, [])
