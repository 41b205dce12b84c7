"""The brokers that tests run on: Apache Kafka in a container where Docker answers, else the embedded broker."""

import asyncio
import atexit
import contextlib
import io
import os
import tarfile
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from consumer.demo.broker import embedded_broker, free_port

os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"  # before the import: `kafka_container` removes its own

import docker  # type: ignore[import-untyped]
import docker.errors  # type: ignore[import-untyped]
from testcontainers.core.container import DockerContainer

IMAGE = "apache/kafka:4.1.1"
READY_SECONDS = 90.0
TOOLS = "/opt/kafka/bin"
FOLDER = "/mnt/of-the-test"
_FIRST_OWN_PORT = 9101

T = TypeVar("T")


class DockerMissing(Exception):
    """No Docker engine answers, or it neither has nor can pull the image."""


class KafkaContainer:
    """Apache Kafka (KRaft, one node) in a container whose address outlives its restarts.

    Clients reach it at `bootstrap_servers`, or at `proxied_servers` when a proxy of the test listens at `proxy_port`
    and forwards to `behind_proxy`: that listener advertises the proxy, so that all of a client's connections pass it.

    ``listeners`` are more of them, by name with their protocol (`servers_of` says where they are); ``folder`` is seen
    as `FOLDER` in the container.
    """

    data = "/tmp/kraft-combined-logs"
    """The folder of its logs, in the container."""

    def __init__(
        self, *, listeners: Mapping[str, str] | None = None, folder: Path | None = None, **settings: str
    ) -> None:
        self.port, self.proxy_port, self.behind_proxy = free_port(), free_port(), free_port()
        self._listeners = dict(listeners or {})
        self._ports = {name: free_port() for name in self._listeners}
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self.proxied_servers = f"127.0.0.1:{self.proxy_port}"
        container = DockerContainer(IMAGE).with_envs(**self._environment(settings))
        bound: dict[str, Any] = {"9092/tcp": ("127.0.0.1", self.port), "9095/tcp": ("127.0.0.1", self.behind_proxy)}
        for inside, port in enumerate(self._ports.values(), _FIRST_OWN_PORT):
            bound[f"{inside}/tcp"] = ("127.0.0.1", port)
        container.ports = bound
        if folder is not None:
            container.with_volume_mapping(str(folder), FOLDER, "ro")
        self._container = container

    def servers_of(self, listener: str) -> str:
        """The bootstrap servers of one of the listeners that were asked for."""
        return f"localhost:{self._ports[listener]}"

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        own = self._listeners
        inside = [f",{name}://:{port}" for port, name in enumerate(own, _FIRST_OWN_PORT)]
        outside = [f",{name}://{self.servers_of(name)}" for name in own]
        protocols = [f",{name}:{protocol}" for name, protocol in own.items()]
        return {
            "CLUSTER_ID": "5L6g3nShT-eMCtK--X86sw",
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9094",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
            "KAFKA_LISTENERS": (
                "HOST://:9092,PROXIED://:9095,INTERNAL://localhost:9093,CONTROLLER://localhost:9094" + "".join(inside)
            ),
            "KAFKA_ADVERTISED_LISTENERS": (
                f"HOST://{self.bootstrap_servers},PROXIED://{self.proxied_servers},INTERNAL://localhost:9093"
                + "".join(outside)
            ),
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": (
                "HOST:PLAINTEXT,PROXIED:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT" + "".join(protocols)
            ),
            "KAFKA_LOG_DIRS": self.data,
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "5",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "5",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
            **{f"KAFKA_{name.upper()}": value for name, value in settings.items()},
        }

    def create(self) -> None:
        """Start the container and wait until Kafka answers."""
        self._container.start()
        self.wait_ready()

    def remove(self) -> None:
        """End the container and delete it with its data."""
        with contextlib.suppress(docker.errors.NotFound):
            self._container.stop()

    def kill(self, signal: str = "SIGKILL") -> None:
        """End Kafka at once; `start` brings it back with its data."""
        self._container.get_wrapped_container().kill(signal=signal)
        self._container.get_wrapped_container().wait()

    def stop(self, timeout: int = 15) -> None:
        """End Kafka in an orderly way; `start` brings it back with its data."""
        self._container.get_wrapped_container().stop(timeout=timeout)

    def start(self, *, wait: bool = True) -> None:
        """Start a container that was killed or stopped, at the same address; wait until Kafka answers."""
        self._container.get_wrapped_container().start()
        if wait:
            self.wait_ready()

    def restart(self, timeout: int = 15) -> None:
        """End Kafka in an orderly way, start it again, wait until it answers."""
        self.stop(timeout)
        self.start()

    def pause(self) -> None:
        """Freeze Kafka: connections stay open, nothing answers."""
        self._container.get_wrapped_container().pause()

    def unpause(self) -> None:
        """Let a frozen Kafka go on."""
        self._container.get_wrapped_container().unpause()

    def exec(self, tool: str, *arguments: str) -> str:
        """Run one of Kafka's shell tools against this broker, as in `exec("kafka-consumer-groups", "--list")`."""
        command = [f"{TOOLS}/{tool}.sh", "--bootstrap-server", "localhost:9093", *arguments]
        result = self._container.exec(command)
        output = result.output.decode(errors="replace")
        if result.exit_code != 0:
            raise RuntimeError(f"{tool} exited {result.exit_code}: {output[-2000:]}")
        return output

    def log_bytes(self, topic: str) -> int:
        """How large the log segments of a topic are on this broker, all partitions together."""
        find = f"find / -xdev -path '*/{topic}-[0-9]*/*.log' -exec stat -c %s {{}} + 2>/dev/null"
        output = self._container.exec(["sh", "-c", find]).output.decode()
        return sum(map(int, output.split()))

    def flip_bit(self, topic: str, partition: int, value: bytes) -> None:
        """Flip one bit of this value in the log of a partition, as a bad disk does. Only while Kafka is stopped."""
        path = f"{self.data}/{topic}-{partition}/00000000000000000000.log"
        container = self._container.get_wrapped_container()
        chunks, _ = container.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            (entry,) = archive.getmembers()
            content = archive.extractfile(entry)
            assert content is not None
            log = bytearray(content.read())
        log[log.index(value)] ^= 1
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.addfile(entry, io.BytesIO(log))
        container.put_archive(path.rpartition("/")[0], packed.getvalue())

    def logs(self, lines: int = 50) -> str:
        """The last lines that Kafka wrote."""
        return str(self._container.get_wrapped_container().logs(tail=lines), errors="replace")

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Return when Kafka answers a metadata request; raise with its log's end when it does not in time."""
        end = time.monotonic() + timeout
        while not in_thread(_answers(self.bootstrap_servers, port=self.port)):
            container = self._container.get_wrapped_container()
            container.reload()
            if container.status in ("exited", "dead") or time.monotonic() > end:
                raise RuntimeError(f"Kafka is not ready ({container.status}):\n{self.logs()}")
            time.sleep(0.1)


@dataclass(frozen=True)
class Broker:
    """A broker for tests; `container` is there when it is Apache Kafka (`kind` is "docker")."""

    kind: Literal["docker", "embedded"]
    bootstrap_servers: str
    container: KafkaContainer | None = None

    @property
    def kafka(self) -> KafkaContainer:
        """The container, for tests that are marked `real_kafka`."""
        assert self.container is not None, "this test needs the marker real_kafka"
        return self.container


def docker_trouble() -> str | None:
    """Why Apache Kafka cannot run here, or `None`. Pulls the image where the engine does not have it."""
    try:
        client = docker.from_env(timeout=120)
    except docker.errors.DockerException as error:
        return f"no Docker engine answers ({_one_line(error)})"
    try:
        client.ping()
        try:
            client.images.get(IMAGE)
        except docker.errors.ImageNotFound:
            client.images.pull(IMAGE)
    except Exception as error:  # the client's transport raises errors of three libraries
        return f"Docker has no image {IMAGE} ({_one_line(error)})"
    finally:
        client.close()
    return None


@contextlib.contextmanager
def kafka_container(
    *, listeners: Mapping[str, str] | None = None, folder: Path | None = None, **settings: str
) -> Iterator[KafkaContainer]:
    """Apache Kafka in a container of its own, with these broker settings on top; removed afterwards, and at exit."""
    kafka = KafkaContainer(listeners=listeners, folder=folder, **settings)
    atexit.register(kafka.remove)
    try:
        kafka.create()
        yield kafka
    finally:
        kafka.remove()
        atexit.unregister(kafka.remove)


@contextlib.contextmanager
def embedded() -> Iterator[str]:
    """The embedded broker for code that has no event loop; yields its bootstrap servers."""
    started, leave = threading.Event(), threading.Event()
    address: list[str] = []

    async def serve() -> None:
        try:
            async with embedded_broker() as servers:
                address.append(servers)
                started.set()
                await asyncio.to_thread(leave.wait)
        finally:
            started.set()

    with ThreadPoolExecutor(1, thread_name_prefix="embedded-broker") as threads:
        served = threads.submit(asyncio.run, serve())
        try:
            started.wait()
            if address:
                yield address[0]
        finally:
            leave.set()
            served.result()


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own, whether or not a loop runs here."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, work).result()


async def _answers(bootstrap_servers: str, *, port: int) -> bool:
    try:  # a forwarded port accepts before Kafka does, and closes again
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        async with asyncio.timeout(0.3):
            await reader.read(1)
        return False
    except TimeoutError:
        pass
    except OSError:
        return False
    finally:
        writer.close()
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=5000)
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except (KafkaError, OSError):
        return False
    finally:
        await client.close()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:100]
