"""Who reads the log, and whether, is nothing to the pages; and a terminal that is closed ends nothing."""

import signal
from pathlib import Path

from consumer.demo.broker import free_port
from consumer.telemetry.log_lines import LEVELS
from providers.sandbox import Sandbox
from tests.faults.accounts import keys, send, sessions
from tests.support.broker import Broker
from tests.support.process import merged, series, service_process
from tests.support.service import make_world

PAGES = 1200
"""Whose lines a pipe does not hold."""


async def test_a_log_that_nobody_reads_costs_no_page(broker: Broker, sandbox: Sandbox, tmp_path: Path) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery={"timeout_seconds": 30})
    port = free_port()
    names = sessions("unread", PAGES)
    async with service_process(merged(world.document, server={"port": port}), tmp_path, unread=True) as service:
        await send(world, names)
        await sandbox.wait_for(lambda: len(sandbox.incidents()) == PAGES, timeout=120)
        service.process.send_signal(signal.SIGHUP)
        for level in LEVELS:
            assert await series(port, "log_lines_dropped_total", {"level": level}) == [0]
        await service.listen()
        await service.said("signal_ignored", signal="SIGHUP")
        await service.end()
        assert len(service.lines("alert_triggered")) == PAGES
        assert service.lines("service_stopped")
    assert {incident.dedup_key for incident in sandbox.incidents()} == set(keys(names))


async def test_the_end_does_not_wait_for_who_does_not_read(broker: Broker, sandbox: Sandbox, tmp_path: Path) -> None:
    world = await make_world(broker.bootstrap_servers, sandbox.url, delivery={"timeout_seconds": 30})
    async with service_process(world.document, tmp_path, unread=True) as service:
        await send(world, sessions("unread", PAGES))
        await sandbox.wait_for(lambda: len(sandbox.incidents()) == PAGES, timeout=120)
        assert await service.end() < 15
