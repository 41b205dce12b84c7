"""A group's member in a process of its own, to be frozen and killed; it does what the lines on its input say.

Lines: `commit OFFSET`, `transact N` (a committed transaction of N), `begin N` (the same, left open), `spin`
(transactions until killed). A transaction of N writes the value N under each of five state keys and the checkpoint's.
Every line is answered with one line: `ok ...`, or the name of the error's class.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, OffsetAndMetadata, TopicPartition
from aiokafka.errors import KafkaError

from tests.support.kafka import member, running, transactional
from tests.support.waiting import wait_until

STATE_KEYS = [f"alert-{number}".encode() for number in range(5)]
CHECKPOINT_KEY = b"\0checkpoint"


class MemberProcess:
    """The test's end of such a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def ask(self, line: str, *, timeout: float = 20.0) -> str:
        """Say a line and return its answer."""
        self.say(line)
        return await self.answer(timeout=timeout)

    def say(self, line: str) -> None:
        """Say a line; a frozen process reads it when it wakes."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def answer(self, *, timeout: float = 20.0) -> str:
        """The next line of the process."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), timeout)
        assert line, f"the process ended with {await self.process.wait()}"
        return line.decode().strip()

    def freeze(self) -> None:
        """Stop the process as a debugger, a hypervisor or an out-of-memory host does."""
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on as if nothing had been."""
        self.process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def member_process(
    bootstrap_servers: str,
    *,
    topic: str = "",
    group: str = "",
    session_ms: int = 2000,
    state_topic: str = "",
    transactional_id: str = "",
) -> AsyncIterator[MemberProcess]:
    """Start the process; yields when it owns its partitions (with `group`), and its producer is initialised."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.member", bootstrap_servers),
        *("--topic", topic, "--group", group, "--session-ms", str(session_ms)),
        *("--state-topic", state_topic, "--transactional-id", transactional_id),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
    )
    handle = MemberProcess(process)
    try:
        assert await handle.answer(timeout=30) == "ok ready"
        yield handle
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class _Member:
    def __init__(
        self,
        consumer: AIOKafkaConsumer | None,
        producer: AIOKafkaProducer | None,
        *,
        topic: str,
        state_topic: str,
    ) -> None:
        self.consumer, self.producer = consumer, producer
        self.topic, self.state_topic = topic, state_topic

    async def obey(self, line: str) -> str:
        match line.split():
            case ["commit", offset]:
                assert self.consumer is not None
                await self.consumer.commit({TopicPartition(self.topic, 0): OffsetAndMetadata(int(offset), "member")})
                return "ok"
            case ["transact", number]:
                await self.transact(int(number))
                return "ok"
            case ["begin", number]:
                await self.begin(int(number))
                return "ok"
            case ["spin"]:
                for round_number in itertools.count(1):
                    await self.transact(round_number)
                    print(f"ok {round_number}", flush=True)
        raise ValueError(line)

    async def begin(self, number: int) -> None:
        assert self.producer is not None
        await self.producer.begin_transaction()
        value = str(number).encode()
        sent = [
            await self.producer.send(self.state_topic, value, key=key, partition=0)
            for key in (*STATE_KEYS, CHECKPOINT_KEY)
        ]
        await asyncio.gather(*sent)

    async def transact(self, number: int) -> None:
        await self.begin(number)
        assert self.producer is not None
        await self.producer.commit_transaction()


async def _main(arguments: argparse.Namespace) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with contextlib.AsyncExitStack() as stack:
        consumer = producer = None
        if arguments.group:
            consumer = member(arguments.servers, arguments.topic, arguments.group, session_ms=arguments.session_ms)
            await stack.enter_async_context(running(consumer))
            await wait_until(consumer.assignment, "a partition is assigned", timeout=20)
        if arguments.transactional_id:
            producer = transactional(arguments.servers, arguments.transactional_id)
            await stack.enter_async_context(running(producer))
        print("ok ready", flush=True)
        obedient = _Member(consumer, producer, topic=arguments.topic, state_topic=arguments.state_topic)
        while line := (await lines.readline()).decode().strip():
            try:
                answer = await obedient.obey(line)
            except KafkaError as error:
                answer = type(error).__name__
            print(answer, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("servers")
    for option in ("--topic", "--group", "--state-topic", "--transactional-id"):
        parser.add_argument(option, default="")
    parser.add_argument("--session-ms", type=int, default=2000)
    asyncio.run(_main(parser.parse_args()))
