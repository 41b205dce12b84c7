"""`deploy/asyncapi.yaml` describes each topic, and each record of a real run as exactly one of the topic's messages."""

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from aiokafka import ConsumerRecord
from jsonschema import Draft202012Validator

from consumer.config import Config, parse_config
from consumer.history.step import schema
from consumer.kafka.topic_specs import Purpose, topics_of
from providers.sandbox import Fault, FaultyAnswer, Sandbox
from tests.integration.test_dlq_and_alerts import Commands
from tests.support.broker import Broker
from tests.support.events import event, session_end
from tests.support.kafka import committed_records, produce
from tests.support.seen import send
from tests.support.service import World, incidents, make_world, running_member
from tests.support.waiting import wait_until

FILE = Path(__file__).parents[2] / "deploy" / "asyncapi.yaml"
DESCRIBED: dict[str, Any] = yaml.safe_load(FILE.read_text())
HISTORY = "../consumer/history/schema.json"
CHANNELS = {
    Purpose.EVENTS: "events",
    Purpose.KEYED: "keyed",
    Purpose.POSITIONS: "positions",
    Purpose.STATE: "state",
    Purpose.FEEDBACK: "feedback",
    Purpose.HISTORY: "history",
    Purpose.DEAD_LETTERS: "deadLetters",
    Purpose.SILENCES: "silences",
}


def at(reference: str) -> Any:
    """What a reference within the file stands for."""
    found: Any = DESCRIBED
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def whole(described: Any) -> Any:
    """A schema with what it refers to in the place of its references."""
    if isinstance(described, list):
        return [whole(one) for one in described]
    if not isinstance(described, dict):
        return described
    if (reference := described.get("$ref")) is not None:
        return schema() if reference == HISTORY else whole(at(reference))
    return {name: whole(one) for name, one in described.items()}


def is_valid(value: Any, described: Any) -> bool:
    return Draft202012Validator(whole(described)).is_valid(value)


def messages(channel: str, record: "ConsumerRecord[bytes, bytes]") -> list[str]:
    """The messages of the channel that the record can be."""
    try:
        payload = None if record.value is None else orjson.loads(record.value)
    except ValueError:
        payload = "not JSON"
    headers = {name: None if value is None else value.decode() for name, value in record.headers}
    key = None if record.key is None else record.key.decode()
    found = []
    for name, reference in DESCRIBED["channels"][channel]["messages"].items():
        message = at(reference["$ref"])
        of_key = message.get("bindings", {}).get("kafka", {}).get("key", True)
        if is_valid(payload, message["payload"]) and is_valid(headers, message.get("headers", True)):
            found += [name] if is_valid(key, of_key) else []
    return found


def test_each_topic_has_a_channel_with_its_name() -> None:
    text = "kafka: {event_key: tenant_id}\nexporters: {alerting: {pagerduty: {routing_key: " + "k" * 32 + "}}}\n"
    config: Config = parse_config(text, {}, lambda path: path)
    described = {
        name: found["address"].replace("{provider}", "pagerduty") for name, found in DESCRIBED["channels"].items()
    }
    assert described == {CHANNELS[spec.purpose]: spec.name for spec in topics_of(config)}
    assert CHANNELS.keys() == set(Purpose)


def test_what_it_refers_to_is_there() -> None:
    assert (FILE.parent / HISTORY).exists()

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [found for one in value.values() for found in references(one)]
        return [found for one in value for found in references(one)] if isinstance(value, list) else []

    for reference in references(DESCRIBED):
        assert reference == HISTORY or at(reference)
    for message in DESCRIBED["components"]["messages"].values():
        for described in (message["payload"], message.get("headers", True)):
            Draft202012Validator.check_schema(described)


async def test_each_record_is_what_is_described(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, kafka={"event_key": "tenant_id"})
    commands = Commands(world, tmp_path, capsys)
    found: dict[str, list[tuple[str, ...]]] = {}
    async with running_member(world.config):
        await produce(world.bootstrap_servers, world.events, [b"no event"])
        await send(world, event())
        await incidents(sandbox, 1)
        sandbox.faults.add(Fault(FaultyAnswer(status=400), action="trigger", times=1))
        await send(world, event(session="s2"))

        async def letters() -> bool:
            return len(await committed_records(world.bootstrap_servers, world.dlq)) >= 2

        await wait_until(letters, "both dead letters", poll=0.1)
        await commands.done("alerts", "ack", "forbidden_path:sess-1", "--by", "ann")
        await commands.done("silences", "add", "--guard", "g", "--for", "1h", "--reason", "known", "--yes")
        await commands.run("dlq", "replay", "--limit", "1")
        await send(world, session_end())

        async def is_told() -> bool:
            found.clear()
            for channel, topic in _topics(world).items():
                records = await committed_records(world.bootstrap_servers, topic)
                found[channel] = [tuple(messages(channel, record)) for record in records]
            return ("gone",) in found["state"] and ("mark",) in found["deadLetters"]

        await wait_until(is_told, "an alert is gone", poll=0.2)
    for channel, kinds in found.items():
        assert kinds, f"{channel} has records"
        assert [kind for kind in kinds if len(kind) != 1] == [], f"each record of {channel} is one message"
    seen = {channel: {kind for (kind,) in kinds} for channel, kinds in found.items()}
    assert seen["history"] == {"step"}
    assert seen["silences"] == {"silence"}
    assert seen["state"] == {"alert", "gone", "checkpoint"}
    assert seen["feedback"] == {"command", "replay"}
    assert seen["deadLetters"] == {"deadLetter", "mark"}


def _topics(world: World) -> dict[str, str]:
    return {CHANNELS[spec.purpose]: spec.name for spec in topics_of(world.config)}
