"""A broker that speaks Kafka's protocol, started on this machine for the length of an `async with`.

It is the `noida-db` binary of the package of that name (extra `embedded`). It is good enough for the demo and for most
tests, but not for load, and it does not evict a member that stops its heartbeats. It listens on loopback only.
"""

import asyncio
import contextlib
import os
import random
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from consumer.demo import child_guard
from providers.errors import UserError

HOST = "127.0.0.1"
STOP_SECONDS = child_guard.GRACE_SECONDS + 2.0


class EmbeddedBrokerError(UserError):
    """The embedded broker did not start; the text ends with the last lines that it wrote."""


class EmbeddedBrokerMissing(EmbeddedBrokerError):
    """The package that holds the embedded broker is not installed."""


@contextlib.asynccontextmanager
async def embedded_broker(
    *, data_dir: Path | None = None, port: int | None = None, start_timeout: float = 20.0
) -> AsyncIterator[str]:
    """Run an embedded broker; yields its bootstrap servers once it answers a metadata request.

    Without `data_dir` its data is in a temporary folder that is deleted afterwards; without `port` it takes a free
    port. The broker ends with the block, and with this process however that ends. Raises `EmbeddedBrokerError` if the
    broker cannot be started, or does not answer within ``start_timeout`` seconds.
    """
    binary = _binary()
    with tempfile.TemporaryDirectory(prefix="clawdstrike-broker-", ignore_cleanup_errors=True) as scratch:
        if port is None:
            port = free_port()
        elif await _accepts(port):  # another program on this port would be mistaken for our broker
            raise EmbeddedBrokerError(f"port {port} is in use")
        output = Path(scratch, "output")
        process = _start(binary, port=port, data_dir=data_dir or Path(scratch, "data"), output=output)
        try:
            await _answering(process, port, output=output, timeout=start_timeout)
            yield f"{HOST}:{port}"
        finally:
            await _stop(process)


def free_port() -> int:
    """A free port on the loopback interface, below the range that systems use for outgoing connections."""
    for _ in range(100):
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise EmbeddedBrokerError("no free port between 15000 and 32000")


def _binary() -> Path:
    spec = find_spec("noida_db")
    if spec is None or spec.origin is None:
        raise EmbeddedBrokerMissing("no embedded broker: install clawdstrike-alerting[embedded]")
    binary = Path(spec.origin).with_name("noida-db.exe" if os.name == "nt" else "noida-db")
    if not binary.is_file():
        raise EmbeddedBrokerMissing(f"no embedded broker at {binary}: reinstall clawdstrike-alerting[embedded]")
    if not os.access(binary, os.X_OK):  # wheels do not keep the executable bit everywhere
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return binary


def _start(binary: Path, *, port: int, data_dir: Path, output: Path) -> "subprocess.Popen[bytes]":
    data_dir.mkdir(parents=True, exist_ok=True)
    command = [str(binary), "start", "--only", "kafka", "--kafka-port", str(port), "--host", HOST]
    command += ["--data-dir", str(data_dir)]
    apart = 0
    if sys.platform == "win32":
        apart = subprocess.CREATE_NEW_PROCESS_GROUP
    with output.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", child_guard.__file__, *command],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal must reach only this process, which stops the broker last
            creationflags=apart,
        )


async def _answering(process: "subprocess.Popen[bytes]", port: int, *, output: Path, timeout: float) -> None:
    """Wait until the broker answers a metadata request. Raises `EmbeddedBrokerError` if it ends, or after
    ``timeout``."""
    try:
        async with asyncio.timeout(timeout):
            while not await _answers(port):
                if process.poll() is not None:
                    raise EmbeddedBrokerError(f"the embedded broker ended with {process.returncode}: {_tail(output)}")
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise EmbeddedBrokerError(f"no answer from the embedded broker in {timeout:g} s: {_tail(output)}") from None


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


async def _answers(port: int) -> bool:
    if not await _accepts(port):  # the client would log an error for each refused connection
        return False
    client = AIOKafkaClient(bootstrap_servers=f"{HOST}:{port}")
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except (KafkaError, OSError):
        return False
    finally:
        await client.close()


async def _stop(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.to_thread(process.wait, STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)


def _tail(output: Path, lines: int = 5) -> str:
    written = output.read_text(errors="replace").splitlines()
    told = [line for line in written if line.strip() and "weak version" not in line]  # a harmless warning of the loader
    return " | ".join(told[-lines:]) or "it wrote nothing"
