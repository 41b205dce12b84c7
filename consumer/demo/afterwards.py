"""What to try while a demo is kept: commands with the addresses and files of this run. Pure, except that it writes two
files."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVENT: dict[str, Any] = {
    "event_type": "guard_block",
    "agent": {"id": "agent-of-mine"},
    "session": {"id": "session-of-mine", "user_id": "me", "tenant_id": "acme-corp"},
    "decision": {
        "allowed": False,
        "guard": "forbidden_path",
        "severity": "critical",
        "reason": "Access to forbidden path: /etc/shadow",
    },
    "resource": {"type": "file", "name": "/etc/shadow", "path": "/etc/shadow"},
    "labels": {"team": "payments"},
}
"""An event for the user to edit; its id and its time are added when it is sent."""

_PRODUCE = '''\
"""Sends event.json, which stands beside this file, as an engine would; change it and send it again."""

import asyncio
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaProducer


async def main():
    event = json.loads(Path(__file__).with_name("event.json").read_text())
    event |= {{"event_id": str(uuid.uuid4()), "timestamp": datetime.now(UTC).isoformat()}}
    async with AIOKafkaProducer(bootstrap_servers={servers!r}) as producer:
        sent = await producer.send_and_wait({topic!r}, json.dumps(event).encode(), event["session"]["id"].encode())
    print(f"sent to partition {{sent.partition}}, offset {{sent.offset}}")


asyncio.run(main())
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The addresses and files of a kept demo. ``dedup_key`` is that of one of its alerts; None if there is none."""

    bootstrap_servers: str
    topic: str
    sandbox_url: str
    metrics_url: str
    config: Path
    log: Path
    dedup_key: str | None = None


def write_event(kept: Kept) -> Path:
    """Write an event to edit, and a script that sends it, beside the configuration. Returns the script's path."""
    script = kept.config.with_name("produce.py")
    script.write_text(_PRODUCE.format(servers=kept.bootstrap_servers.split(","), topic=kept.topic))
    kept.config.with_name("event.json").write_text(json.dumps(EVENT, indent=2) + "\n")
    return script


def what_to_try(kept: Kept, script: Path, command: str) -> list[str]:
    """Lines for the user. ``command`` is how this program was started. Each command has a line of its own."""
    config = shlex.quote(str(kept.config))
    key = shlex.quote(kept.dedup_key) if kept.dedup_key is not None else "DEDUP_KEY"
    fault = shlex.quote(json.dumps({"provider": "pagerduty", "times": 10, "effect": {"kind": "answer", "status": 503}}))
    return [
        "Everything is left running until Ctrl-C. What to try next:",
        "",
        "the alerts as the service knows them, and one of them",
        f"  {command} alerts list --config {config}",
        f"  {command} alerts show {key} --config {config}",
        "an event of your own: edit event.json, then",
        f"  {shlex.quote(sys.executable)} {shlex.quote(str(script))}",
        "PagerDuty answers its next ten requests with 503",
        f"  curl {kept.sandbox_url}/_sandbox/faults -d {fault}",
        "how the service is, and its numbers",
        f"  curl {kept.metrics_url.removesuffix('/metrics')}/readyz",
        f"  curl {kept.metrics_url}",
        f"its log: {kept.log}",
        f"Kafka: {kept.bootstrap_servers}, topic {kept.topic}",
        "",
        "what people would see; break a provider there and watch it recover",
        f"  {kept.sandbox_url}/",
    ]


def own_command(started_as: Sequence[str] = sys.argv) -> str:
    """The command that starts this program again from the same folder."""
    program = started_as[0] if started_as else ""
    if Path(program).name.startswith("clawdstrike-alerting"):
        return shlex.quote(program)
    return f"{shlex.quote(sys.executable)} -m consumer.cli.main"
