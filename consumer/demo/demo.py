"""The demo from start to end: start everything, let the agents work, wait until nothing more happens, check.

However `run_demo` ends, all that it has started is stopped at its end, in the opposite order.
"""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiohttp
import yaml
from aiokafka.errors import KafkaError
from rich.console import Console

from consumer.config import Config, load_config
from consumer.demo.afterwards import Kept, own_command, what_to_try, write_event
from consumer.demo.agents import rulesets
from consumer.demo.back import acknowledged_there
from consumer.demo.broker import embedded_broker, free_port
from consumer.demo.browser import open_page
from consumer.demo.daemon import Daemon
from consumer.demo.engine import Engine
from consumer.demo.problems import Problems
from consumer.demo.process import ServiceProcess, running_service
from consumer.demo.scrape import Numbers, scrape
from consumer.demo.stage import INGEST_TOKEN, OPSGENIE_KEY, PAGERDUTY_KEYS, PARTITIONS, PIPELINES, DemoStage
from consumer.demo.summary import checks, print_summary
from consumer.demo.table import DemoRate, Display, Snapshot
from consumer.demo.traffic import SEND_SECONDS, Traffic, TrafficError
from consumer.kafka.clients import KafkaClients, close_producer
from consumer.kafka.group_removal import delete_groups
from consumer.kafka.topic_specs import topics_of
from consumer.kafka.topics import create_topics
from consumer.receivers.ingest.app import PATH
from consumer.telemetry.log import quiet
from consumer.timing.waiting import set_within, unless_set
from providers.errors import UserError
from providers.sandbox import Fault, Sandbox, SandboxSettings, running_sandbox

START_SECONDS = 60.0
"""How long to wait until the service owns all partitions; a busy Kafka lets a new group wait some seconds."""

KAFKA_SECONDS = 20.0
"""Time limit for the answers of a broker that the user has named."""

GROUPS_SECONDS = 15.0
"""Time limit for deleting the groups on that broker, which drops a killed member only after its session time-out, 10
s."""

QUIET_SECONDS = 60.0
"""How long to wait until the service has decided and told everything that was produced."""

STABLE_SECONDS = 1.0
"""For how long nothing may happen before the run counts as quiet."""

_POLL_SECONDS = 0.1
_QUIET_POLL_SECONDS = 0.25
_REFRESH_SECONDS = 0.5

T = TypeVar("T")


class DemoError(UserError):
    """The demo cannot go on; the text says why."""


class Stopped(DemoError):
    """The user stopped the demo before there was anything to check."""

    def __init__(self) -> None:
        super().__init__("stopped before any traffic: nothing was checked")


@dataclass(frozen=True, slots=True)
class Options:
    """The user's options. ``faults`` are set in the sandbox: with some of them the check has to fail."""

    seconds: float = 60.0
    keep: bool = False
    open_page: bool = False
    bootstrap_servers: str | None = None
    faults: Sequence[Fault] = ()


@dataclass(frozen=True, slots=True)
class _Running:
    """A demo in which everything runs, and no agent works yet."""

    config: Config
    config_file: Path
    sandbox: Sandbox
    service: ServiceProcess
    ingest: ServiceProcess
    ingest_url: str
    traffic: Traffic
    http: aiohttp.ClientSession
    metrics_url: str

    async def numbers(self) -> Numbers:
        """The service's metrics; empty without an answer. Raises `DemoError` if the service has ended."""
        if self.service.exit_code is not None:
            raise DemoError(f"the service ended with {self.service.exit_code}; its log ends:\n{self.service.tail()}")
        return await scrape(self.http, self.metrics_url) or {}

    async def takes_posts(self) -> bool:
        """Whether ``ingest`` takes events. Raises `DemoError` if ``ingest`` has ended."""
        if self.ingest.exit_code is not None:
            raise DemoError(f"ingest ended with {self.ingest.exit_code}; its log ends:\n{self.ingest.tail()}")
        try:
            async with self.http.get(f"{self.ingest_url}/readyz") as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False


async def run_demo(
    options: Options,
    console: Console,
    stopping: asyncio.Event,
    checked: Callable[[bool], object] = lambda passed: None,
) -> bool:
    """Run the demo. Returns whether the check passed. ``stopping`` ends the start or the traffic early, or ends a demo
    that is kept.

    ``checked`` is called with the outcome as soon as it is known: afterwards the demo is only cleaned up. Raises
    `EngineMissing` if the engine's package is missing, `EmbeddedBrokerError` if the broker does not start, `Stopped` if
    ``stopping`` is set during the start, and `DemoError` if anything else fails.
    """
    async with AsyncExitStack() as stack:
        # The demo itself reports what the user has to know; Kafka's clients would log the same again.
        stack.enter_context(quiet("aiokafka"))
        running = await unless_set(stopping, _set_stage(options, console, stack))
        if running is None:
            raise Stopped()
        seconds = await _play(running, options, console, stopping)
        numbers = await _quiet(running, console)
        produced = running.traffic.produced
        found = checks(produced, running.sandbox.incidents(), numbers)
        came_back = await acknowledged_there(running.sandbox, running.numbers, partial(_print, console))
        found = {name: [*several, *came_back.get(name, ())] for name, several in found.items()}
        passed = print_summary(console, found, produced=len(produced), seconds=seconds)
        checked(passed)
        if options.keep and not stopping.is_set():
            _say_what_to_try(running, console)
            await stopping.wait()
        elif not options.keep:
            _print(console, f"The page {running.sandbox.url}/ ends with the demo; --keep leaves everything running.")
    return passed


# setting the stage


async def _set_stage(options: Options, console: Console, stack: AsyncExitStack) -> _Running:
    say = _Say(console)
    settings = SandboxSettings(
        pagerduty_keys=frozenset(PAGERDUTY_KEYS),
        opsgenie_keys=frozenset({OPSGENIE_KEY}),
        integrations=PAGERDUTY_KEYS,
    )
    sandbox = await stack.enter_async_context(running_sandbox(settings))
    for fault in options.faults:
        sandbox.faults.add(fault)
    say(f"what PagerDuty and OpsGenie would show: {sandbox.url}/")
    if options.open_page and not await asyncio.to_thread(open_page, f"{sandbox.url}/"):
        say("no browser could be opened here: open that address yourself")
    engines = {ruleset: Engine(ruleset) for ruleset in sorted(rulesets())}
    say(f"policy engine: clawdstrike with the rule sets {', '.join(engines)}")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clawdstrike-demo-")))
    if options.bootstrap_servers is None:
        servers, run_id = await stack.enter_async_context(embedded_broker()), None
        say(f"embedded broker: {servers}")
    else:
        servers, run_id = options.bootstrap_servers, secrets.token_hex(4)

    stage = DemoStage(servers, sandbox.url, free_port(), options.seconds, run_id, free_port(), free_port())
    for subscription in stage.subscriptions():
        sandbox.webhooks.subscribe(subscription)
    file = folder / "clawdstrike-alerting.yaml"
    file.write_text(yaml.safe_dump(stage.config(), sort_keys=False))
    config = load_config(file)
    await stack.enter_async_context(_topics(config, console, temporary=run_id is not None))
    say(f"topics: {config.kafka.topics.events} and {len(topics_of(config)) - 1} more")

    service = await stack.enter_async_context(running_service(file, folder / "service.log"))
    ingest = await stack.enter_async_context(running_service(file, folder / "ingest.log", "ingest"))
    producer = KafkaClients(config.kafka, client_id="clawdstrike-demo").producer()
    stack.push_async_callback(close_producer, producer)
    await producer.start()
    http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)))
    ingest_url = f"http://127.0.0.1:{stage.ingest_port}"
    daemon = Daemon(http, ingest_url + PATH, INGEST_TOKEN, SEND_SECONDS)
    traffic = Traffic(producer, config.kafka.topics.events, engines, daemon)
    metrics_url = f"http://127.0.0.1:{stage.port}/metrics"
    running = _Running(config, file, sandbox, service, ingest, ingest_url, traffic, http, metrics_url)
    await _until_ready(running)
    say(f"way in: half of the agents' events are posted to {daemon.url}, as the engine's daemon posts them")
    say(f"service: both pipelines own their {PARTITIONS} partitions; metrics at {running.metrics_url}")
    return running


class _Say:
    """Prints what has been done, with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        _print(self._console, f"{time.monotonic() - self._began:5.1f} s  {text}")


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@asynccontextmanager
async def _topics(config: Config, console: Console, *, temporary: bool) -> AsyncIterator[None]:
    """Create the topics. If ``temporary``, as on a broker that is not ours, delete them afterwards, and the groups of
    this run."""
    clients = KafkaClients(config.kafka, client_id="clawdstrike-demo")
    names = [spec.name for spec in topics_of(config)]
    admin = clients.admin()
    try:
        async with asyncio.timeout(KAFKA_SECONDS):
            await admin.start()
            creation = await create_topics(admin, config, PARTITIONS, None)
        if creation.report.problems:
            raise DemoError("; ".join(creation.report.problems))
    except (KafkaError, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise DemoError(f"no topics at {config.kafka.bootstrap_servers}: {reason}") from error
    finally:
        await admin.close()
    try:
        yield
    finally:
        if temporary and (left := await _delete(clients, names)):
            # The broker is gone, or does not allow it. The names tell the user what the rest belongs to.
            _print(console, f"could not be deleted at {config.kafka.bootstrap_servers}: {', '.join(left)}")


async def _delete(clients: KafkaClients, names: Sequence[str]) -> Sequence[str]:
    """Delete these topics, and all groups of this run. Returns what could not be deleted."""
    admin, group_id = clients.admin(), clients.config.group_id
    left = [*names, f"groups {group_id}.*"]
    try:
        async with asyncio.timeout(KAFKA_SECONDS):
            await admin.start()
            answers = (await admin.delete_topics(list(names))).topic_error_codes
            left = [*(topic for topic, code, *_ in answers if code), left[-1]]
            # Also the groups of commands that the user has tried while the demo was kept.
            groups = [name for name, *_ in await admin.list_consumer_groups() if name.startswith(group_id)]
            left = [*left[:-1], *await delete_groups(admin, groups, GROUPS_SECONDS)]
    except (KafkaError, OSError, TimeoutError):
        pass  # the caller prints what is left
    finally:
        await admin.close()
    return left


async def _until_ready(running: _Running) -> None:
    try:
        async with asyncio.timeout(START_SECONDS):
            while not (_is_ready(await running.numbers()) and await running.takes_posts()):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise DemoError(f"the service was not ready in {START_SECONDS:g} s:\n{running.service.tail()}") from None


def _is_ready(numbers: Numbers) -> bool:
    return all(name in numbers and numbers[name].running == PARTITIONS for name in PIPELINES)


# the traffic


async def _play(running: _Running, options: Options, console: Console, stopping: asyncio.Event) -> float:
    """Let the agents work, and show the live table. Returns for how many seconds they worked."""
    began = time.monotonic()
    over = asyncio.Event()
    rate, problems, numbers = DemoRate(), Problems(), await running.numbers()
    try:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(running.traffic.run(over))
            try:
                with Display(console) as display:
                    while not stopping.is_set() and (left := options.seconds + began - time.monotonic()) > 0:
                        numbers = await running.numbers() or numbers
                        elapsed, produced = time.monotonic() - began, running.traffic.produced
                        seen = problems.at(produced, running.sandbox.incidents())
                        per_second = rate.at(elapsed, len(produced))
                        display.show(
                            Snapshot(
                                elapsed, options.seconds, per_second, seen, numbers, page=f"{running.sandbox.url}/"
                            )
                        )
                        await set_within(stopping, min(left, _REFRESH_SECONDS))
                        if working.done():
                            break  # the traffic failed; the task group raises its error
            finally:
                over.set()
    except* (DemoError, TrafficError) as errors:
        raise DemoError(str(errors.exceptions[0])) from errors
    return time.monotonic() - began


# quiet, and the end


async def _quiet(running: _Running, console: Console) -> Numbers:
    """Wait until everything that was produced is decided and told, and nothing more happens. Returns the metrics then.

    The wait ends after `QUIET_SECONDS` in any case: the check will say what is missing.
    """
    try:
        await running.traffic.finish(PARTITIONS)
    except TrafficError as error:
        raise DemoError(str(error)) from error
    produced = running.traffic.produced
    alertable = sum(event.is_alertable for event in produced)
    ignored = sum(not event.is_alertable and event.event_type != "session_end" for event in produced)
    console.print("the agents have stopped; waiting until everything is decided and told", highlight=False)
    deadline = time.monotonic() + QUIET_SECONDS
    received, since = -1, time.monotonic()
    while True:
        numbers = await running.numbers()
        idle = all(
            name in numbers
            and numbers[name].alertable >= alertable
            and numbers[name].events["ignored"] >= ignored
            and numbers[name].is_idle
            for name in PIPELINES
        )
        now = time.monotonic()
        if not idle or running.sandbox.journal.received != received:
            received, since = running.sandbox.journal.received, now
        elif now - since >= STABLE_SECONDS:
            return numbers
        if now > deadline:
            console.print(f"not quiet after {QUIET_SECONDS:g} s", style="red", highlight=False)
            return numbers
        await asyncio.sleep(_QUIET_POLL_SECONDS)


def _say_what_to_try(running: _Running, console: Console) -> None:
    there = running.sandbox.open_incidents("pagerduty") or running.sandbox.incidents("pagerduty")
    kept = Kept(
        bootstrap_servers=running.config.kafka.bootstrap_servers,
        topic=running.config.kafka.topics.events,
        sandbox_url=running.sandbox.url,
        metrics_url=running.metrics_url,
        config=running.config_file,
        log=running.service.log,
        dedup_key=there[-1].dedup_key if there else None,
    )
    for text in what_to_try(kept, write_event(kept), own_command()):
        _print(console, text)
