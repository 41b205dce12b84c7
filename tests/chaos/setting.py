"""Where a run takes place: brokers, proxies before them, the sandbox, the topics and the configuration."""

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from providers.sandbox import Sandbox, running_sandbox
from tests.support.broker import kafka_container
from tests.support.certificates import Authority
from tests.support.cluster import REPLICATION, kafka_cluster
from tests.support.kafka import COMPACTED, create_topic, unique
from tests.support.proxy import KafkaProxy, kafka_proxy
from tests.support.service import API_KEY, ROUTING_KEY, World

SECRET_KEY = "e" * 32
"""The routing key of the guard `secret_leak`: a route of its own, which can be refused without the others."""

SHARED_KEY = "f" * 32
"""The routing key of two other guards: two routes, one integration."""

SESSION_SECONDS = 4.0
REBALANCE_SECONDS = 15.0
TIMEOUT_SECONDS = 2.0
QUIET_SECONDS = 30.0


class Node(Protocol):
    """A broker that can be hurt."""

    port: int
    proxy_port: int
    behind_proxy: int

    def kill(self) -> None: ...
    def stop(self) -> None: ...
    def start(self) -> None: ...
    def pause(self) -> None: ...
    def unpause(self) -> None: ...


@dataclass
class Certificates:
    """What the members show to the proxies: one certificate after the other, in the same two files."""

    authority: Authority
    number: int = 0

    @property
    def name(self) -> str:
        """The common name of the present one."""
        return f"member-{self.number}"

    @property
    def files(self) -> tuple[Path, Path]:
        """Where the certificate and its key are."""
        return self.authority.folder / "member.pem", self.authority.folder / "member.key"

    def change(self) -> None:
        """Replace the files by a new key and its certificate, of another name."""
        self.number += 1
        self.authority.issue(self.name, *self.files)

    def context_of_proxies(self) -> ssl.SSLContext:
        """By which the proxies are known, and ask for a certificate."""
        files = self.authority.folder / "proxy.pem", self.authority.folder / "proxy.key"
        self.authority.issue("proxy", *files)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        context.load_verify_locations(self.authority.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    @property
    def security(self) -> Mapping[str, str]:
        """The configuration's section."""
        cert_file, key_file = map(str, self.files)
        return {"protocol": "SSL", "ca_file": str(self.authority.ca_file), "cert_file": cert_file, "key_file": key_file}


@dataclass(frozen=True)
class Setting:
    """A run's context. ``proxied`` is how members reach Kafka that go through the proxies, by TLS; ``per_second``
    is the rate of each key that they are configured with, None without a limit."""

    nodes: Sequence[Node]
    proxies: Sequence[KafkaProxy]
    sandbox: Sandbox
    world: World
    providers: Sequence[str]
    proxied: Mapping[str, Any]
    certificates: Certificates
    per_second: float | None = None


@contextlib.contextmanager
def brokers(count: int) -> Iterator[Sequence[Node]]:
    """One broker, or a cluster of three."""
    if count == 1:
        with kafka_container(broker_session_timeout_ms="3000", broker_heartbeat_interval_ms="500") as kafka:
            yield [kafka]
    else:
        with kafka_cluster(count) as nodes:
            yield nodes


@contextlib.asynccontextmanager
async def setting(
    nodes: Sequence[Node],
    *,
    providers: Sequence[str] = ("pagerduty",),
    partitions: int = 6,
    session_seconds: float = SESSION_SECONDS,
    state_configs: Mapping[str, str] = COMPACTED,
) -> AsyncIterator[Setting]:
    """Proxies, a sandbox, new topics."""
    servers = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    async with contextlib.AsyncExitStack() as stack:
        certificates = Certificates(Authority(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))))
        certificates.change()
        context = certificates.context_of_proxies()
        proxies = [
            await stack.enter_async_context(kafka_proxy(node.proxy_port, node.behind_proxy, ssl_context=context))
            for node in nodes
        ]
        sandbox = await stack.enter_async_context(running_sandbox())
        world = await make_world(
            servers, sandbox.url, providers, partitions, min(len(nodes), REPLICATION), state_configs
        )
        world.document["kafka"]["session_timeout"] = f"{session_seconds}s"
        proxied = {
            "bootstrap_servers": ",".join(f"127.0.0.1:{node.proxy_port}" for node in nodes),
            "security": certificates.security,
        }
        yield Setting(nodes, proxies, sandbox, world, providers, proxied, certificates)


async def make_world(
    servers: str,
    sandbox_url: str,
    providers: Sequence[str],
    partitions: int,
    replication: int,
    state_configs: Mapping[str, str] = COMPACTED,
) -> World:
    """Create the topics and write the configuration; time-outs are short, rates are not limited."""
    name = unique("chaos")
    life = {
        "deduplication": {"window_seconds": 20, "renotify_seconds": 15},
        "auto_resolve": {"after_minutes": QUIET_SECONDS / 60},
    }
    sections: Mapping[str, Any] = {
        "pagerduty": {
            "routing_key": ROUTING_KEY,
            "api_endpoint": sandbox_url,
            "routing": {
                "by_guard": {"secret_leak": SECRET_KEY, "egress_allowlist": SHARED_KEY, "shell_command": SHARED_KEY}
            },
            **life,
        },
        "opsgenie": {"api_key": API_KEY, "api_endpoint": sandbox_url, **life},
    }
    document = {
        "kafka": {
            "bootstrap_servers": servers,
            "group_id": f"{name}.group",
            "start_from": "earliest",
            "session_timeout": f"{SESSION_SECONDS}s",
            "rebalance_timeout": f"{REBALANCE_SECONDS}s",
            # Several faults of the brokers in a row take longer than a start waits by default, and a member that ends
            # with 1 is what a supervisor starts again: here nobody does.
            "startup_timeout": "600s",
            "topics": {
                topic: f"{name}.{topic}"
                for topic in ("events", "state", "dlq", "feedback", "keyed", "history", "silences")
            },
        },
        "exporters": {"alerting": {provider: sections[provider] for provider in providers}},
        "delivery": {
            "timeout_seconds": TIMEOUT_SECONDS,
            "retry": {"initial_backoff_ms": 50, "max_backoff_ms": 500},
            "commit_interval_ms": 20,
            "rate_limit": {"requests_per_second": 0},
            "circuit_breaker": {"failure_threshold": 5, "recovery_seconds": 0.5},
            "shutdown_grace": "10s",
        },
        "server": {"port": 0},
        "log": {"level": "info"},
    }
    world = World(servers, partitions, document)
    large = {"max.message.bytes": str(2 << 20)}
    topics: list[tuple[str, int, Mapping[str, str] | None]] = [
        (world.events, partitions, None),
        (world.dlq, 1, large),
        (world.feedback, 1, large),
        (world.history, 1, None),
        (world.silences, 1, COMPACTED),
        *((world.state(provider), partitions, state_configs) for provider in providers),
    ]
    async with asyncio.TaskGroup() as group:
        for topic, number, configs in topics:
            group.create_task(
                create_topic(servers, topic, partitions=number, replication_factor=replication, configs=configs)
            )
    return world
