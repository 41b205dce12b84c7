"""Three Kafka brokers in containers: what happens to them one at a time, replication 3 and min.insync 2 survive."""

import atexit
import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import Any

import docker  # type: ignore[import-untyped]
import docker.errors  # type: ignore[import-untyped]

from consumer.demo.broker import free_port
from tests.support.broker import IMAGE, _answers, in_thread

REPLICATION = 3

READY_SECONDS = 300.0
"""For brokers that start at the same time, share two cores with their clients, and recover their logs."""


class ClusterNode:
    """One broker (and controller) of a cluster; killed, frozen and started like `KafkaContainer`."""

    def __init__(self, cluster: str, number: int) -> None:
        self.number = number
        self.name = f"{cluster}-{number}"
        self.port, self.proxy_port, self.behind_proxy = free_port(), free_port(), free_port()
        self._container: Any = None

    def create(self, client: Any, network: str, voters: str) -> None:
        """Start the container; it answers when enough of the others are there."""
        self._container = client.containers.run(
            IMAGE,
            name=self.name,
            hostname=self.name,
            network=network,
            environment=self._environment(voters),
            ports={"9092/tcp": ("127.0.0.1", self.port), "9095/tcp": ("127.0.0.1", self.behind_proxy)},
            detach=True,
        )

    def _environment(self, voters: str) -> dict[str, str]:
        settings = {
            "node_id": str(self.number),
            "process_roles": "broker,controller",
            "controller_quorum_voters": voters,
            "controller_listener_names": "CONTROLLER",
            "inter_broker_listener_name": "INTERNAL",
            "listeners": "HOST://:9092,PROXIED://:9095,INTERNAL://:9093,CONTROLLER://:9094",
            "advertised_listeners": (
                f"HOST://127.0.0.1:{self.port},PROXIED://127.0.0.1:{self.proxy_port},INTERNAL://{self.name}:9093"
            ),
            "listener_security_protocol_map": (
                "HOST:PLAINTEXT,PROXIED:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            "auto_create_topics_enable": "false",
            "default_replication_factor": str(REPLICATION),
            "min_insync_replicas": "2",
            "offsets_topic_replication_factor": str(REPLICATION),
            "offsets_topic_num_partitions": "5",
            "transaction_state_log_replication_factor": str(REPLICATION),
            "transaction_state_log_min_isr": "2",
            "transaction_state_log_num_partitions": "5",
            "group_initial_rebalance_delay_ms": "0",
            "group_min_session_timeout_ms": "1000",
            "broker_session_timeout_ms": "3000",
            "broker_heartbeat_interval_ms": "500",
            "replica_lag_time_max_ms": "5000",
        }
        return {
            "CLUSTER_ID": "5L6g3nShT-eMCtK--X86sw",
            "KAFKA_HEAP_OPTS": "-Xmx512m -Xms256m",
            **{f"KAFKA_{name.upper()}": value for name, value in settings.items()},
        }

    def kill(self, signal: str = "SIGKILL") -> None:
        """End the broker at once; `start` brings it back with its data."""
        self._container.kill(signal=signal)
        self._container.wait()

    def stop(self, timeout: int = 15) -> None:
        """End the broker in an orderly way."""
        self._container.stop(timeout=timeout)

    def start(self, *, wait: bool = True) -> None:
        """Start it again at the same address; wait until it answers."""
        self._container.start()
        if wait:
            self.wait_ready()

    def restart(self, timeout: int = 15) -> None:
        """End it in an orderly way, start it again, wait until it answers."""
        self.stop(timeout)
        self.start()

    def pause(self) -> None:
        """Freeze the broker."""
        self._container.pause()

    def unpause(self) -> None:
        """Let it go on."""
        self._container.unpause()

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Return when it answers a metadata request; raise with its log's end when it does not in time."""
        end = time.monotonic() + timeout
        while not in_thread(_answers(f"127.0.0.1:{self.port}", port=self.port)):
            self._container.reload()
            if self._container.status in ("exited", "dead") or time.monotonic() > end:
                raise RuntimeError(f"{self.name} is not ready ({self._container.status}):\n{self.logs()}")
            time.sleep(0.2)

    def logs(self, lines: int = 50) -> str:
        """The last lines that the broker wrote."""
        return str(self._container.logs(tail=lines), errors="replace")

    def remove(self) -> None:
        """End the container and delete it with its data."""
        if self._container is not None:
            with contextlib.suppress(docker.errors.NotFound):
                self._container.remove(force=True, v=True)


@contextlib.contextmanager
def kafka_cluster(brokers: int = REPLICATION) -> Iterator[list[ClusterNode]]:
    """A cluster of so many brokers in a network of its own; all of it is removed afterwards, and at exit."""
    client = docker.from_env(timeout=120)
    name = f"chaos-{uuid.uuid4().hex[:8]}"
    nodes = [ClusterNode(name, number) for number in range(1, brokers + 1)]
    network = client.networks.create(name)

    def remove() -> None:
        for node in nodes:
            node.remove()
        with contextlib.suppress(docker.errors.APIError):
            network.remove()

    atexit.register(remove)
    try:
        voters = ",".join(f"{node.number}@{node.name}:9094" for node in nodes)
        for node in nodes:
            node.create(client, name, voters)
        for node in nodes:
            node.wait_ready()
        yield nodes
    finally:
        remove()
        atexit.unregister(remove)
        client.close()
