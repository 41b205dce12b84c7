"""A service that is stopped while it waits for Kafka leaves nothing of that behind."""

import asyncio
from typing import Any

import pytest
import structlog

import consumer.service.service
from consumer.config import Config
from consumer.service.service import run_service

CONFIG = Config.model_validate(
    {
        "kafka": {"bootstrap_servers": "localhost:1"},
        "exporters": {"alerting": {"pagerduty": {"routing_key": "r" * 32}}},
        "server": {"port": 0},
    }
)


async def test_what_asks_kafka_has_closed_its_clients_when_the_service_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    closed, asked = [], asyncio.Event()

    async def asking(*args: Any) -> Any:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    monkeypatch.setattr(consumer.service.service, "when_kafka_answers", asking)
    stopping = asyncio.Event()
    running = asyncio.ensure_future(run_service(CONFIG, stopping, structlog.get_logger()))
    await asked.wait()
    stopping.set()
    await running
    assert closed == [True]
