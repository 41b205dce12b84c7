"""``status`` on a real broker, of a real process: who has what, who is not told, and what its server says."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.cli.main import main
from consumer.demo.broker import free_port
from providers.sandbox import Fault, FaultyAnswer, Sandbox
from tests.support.broker import Broker
from tests.support.events import event
from tests.support.process import merged, service_process
from tests.support.seen import send
from tests.support.service import incidents, make_world
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("it says where members come from")

TEMPLATE = "{guard}:{tenant_id}:{resource}"


async def test_one_look_says_who_runs_and_what_waits(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keyed = {"deduplication": {"key_template": TEMPLATE}}
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=3, pagerduty=keyed, opsgenie={})
    document = merged(
        world.document, server={"host": "0.0.0.0", "port": free_port()}, kafka={"group_instance_id": "pod-1"}
    )
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document))

    async def status(*options: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, ["status", "--config", str(path), *options])
        out, err = capsys.readouterr()
        assert err == ""
        return code, out

    async def seen() -> Any:
        code, out = await status("--json")
        found = json.loads(out)
        assert code == (0 if found["well"] else 1)
        return found

    code, out = await status()
    assert code == 1
    assert f"pagerduty-repartition: nobody runs: group {world.group()}-repartition has no member" in out

    async with service_process(document, tmp_path) as service:
        await service.restored(3)
        await send(world, event(severity="high"), partition=1)
        await incidents(sandbox, 1)
        await incidents(sandbox, 1, "opsgenie")

        async def is_decided() -> Any:
            found = await seen()
            groups = [*found["pipelines"].values(), found["pipelines"]["pagerduty"]["stage"]]
            is_open = all(one["alerts"]["open"] == 1 for one in found["pipelines"].values())
            untold = sum(one["untold"]["alerts"] for one in found["pipelines"].values())
            behind = sum(one["undecided"]["events"] + one["lag"] for one in groups)
            return found if is_open and not untold and not behind else None

        found = await wait_until(is_decided, "everything is decided and told", timeout=60, poll=0.5)
        assert (found["well"], found["problems"]) == (True, [])
        for group in (*found["pipelines"].values(), found["pipelines"]["pagerduty"]["stage"]):
            (member,) = group["members"]
            assert (member["instance_id"], member["partitions"]) == ("pod-1", [0, 1, 2])
            assert group["without_member"] == []
            assert group["undecided"]["not_begun"] == []
        (server,) = found["servers"]
        assert (server["answers"], server["ready"]) == (True, True)
        assert found["pipelines"]["opsgenie"]["routes"] == [
            {"route": "default", "condition": "nothing wrong", "since": None, "reason": None}
        ]
        code, out = await status()
        assert (code, out.splitlines()[-1]) == (0, "all is well")
        assert "partitions 0-2; ready" in out

        sandbox.faults.add(Fault(FaultyAnswer(status=401, body='{"message": "revoked"}'), provider="opsgenie"))
        await send(world, event(severity="critical", session="s2"), partition=0)

        async def is_refused() -> Any:
            found = await seen()
            opsgenie = found["pipelines"]["opsgenie"]
            (route,) = opsgenie["routes"]
            return found if route["condition"] == "refused" and opsgenie["untold"]["alerts"] else None

        found = await wait_until(is_refused, "the route is refused, and an alert is owed", timeout=60, poll=0.5)
        assert found["problems"][0].startswith(found["servers"][0]["host"])
        assert "opsgenie: the provider refuses route default" in found["problems"][0]
        opsgenie = found["pipelines"]["opsgenie"]
        assert (opsgenie["untold"]["alerts"], opsgenie["untold"]["by_severity"]["critical"]) == (1, 1)
        assert (await status())[0] == 1
        sandbox.faults.clear()

    found = await seen()  # a static member is missed when its session is over
    assert found["servers"] == [] or found["servers"][0]["silence"] == "Connection refused"
