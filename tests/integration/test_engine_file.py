"""The daemon's own file runs the service: its violations, posted as its webhook exporter does, are incidents."""

from pathlib import Path

import aiohttp
import orjson
import yaml

from providers.sandbox import Sandbox
from tests.support.broker import Broker
from tests.support.events import event
from tests.support.ingest import TOKEN
from tests.support.process import merged, service_process
from tests.support.service import API_KEY, ROUTING_KEY, incidents, make_world

FILE = Path(__file__).parents[1] / "data" / "hushd.yaml"


async def test_the_daemons_file_runs_the_service(broker: Broker, sandbox: Sandbox, tmp_path: Path) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, opsgenie={}, pagerduty={})
    there = {"api_endpoint": sandbox.url}
    of_providers = {
        "pagerduty": {**there, "routing_key": ROUTING_KEY},
        "opsgenie": {**there, "api_key": API_KEY, "heartbeat": {"enabled": False}},
    }
    document = merged(yaml.safe_load(FILE.read_text()), siem={"exporters": {"alerting": of_providers}})
    ours = {name: world.document[name] for name in ("kafka", "server", "log")}
    document |= {**ours, "ingest": {"enabled": True, "port": 0, "tokens": [TOKEN]}}
    async with service_process(document, tmp_path) as service, aiohttp.ClientSession() as http:
        await service.restored()
        url = f"http://127.0.0.1:{service.lines('ingest_started')[0]['port']}/v1/events"
        for one in (event(session="s-1"), event(session="s-2", tenant=None), event(guard="posture", session="s-3")):
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with http.post(url, data=orjson.dumps(one), headers=headers) as response:
                assert response.status == 200
        await incidents(sandbox, 2)
        await incidents(sandbox, 2, "opsgenie")
        named = [line["error"] for line in service.lines("setting_without_effect")]
        assert any("siem.exporters.alerting.dlq: without meaning here" in sentence for sentence in named)
    assert {one.dedup_key for one in sandbox.incidents("pagerduty")} == {
        "forbidden_path:s-1:acme-corp",
        "forbidden_path:s-2:",
    }
    assert {one.dedup_key for one in sandbox.incidents("opsgenie")} == {
        "forbidden_path:s-1:/etc/shadow",
        "forbidden_path:s-2:/etc/shadow",
    }
