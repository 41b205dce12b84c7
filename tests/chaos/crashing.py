"""The service that dies at a named step: `python -m tests.chaos.crashing run --config FILE`.

The real code runs; its collaborators are wrapped from outside, and every call of one is two steps, before and after.
CHAOS_CRASH_AT is the step at which the process ends as by `kill -9`: its name and which time it is, as in
`after commit#2`, counted from CHAOS_ARM: `start` (from the beginning) or `signal` (from SIGUSR1 on). Each step that is
passed is written to CHAOS_TRACE, one a line.
"""

import asyncio
import functools
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

CODE = 137


class Steps:
    """Counts the steps, and ends the process at one of them."""

    def __init__(self, at: str, is_armed: bool, trace: str) -> None:
        self._at = at
        self._counts: Counter[str] = Counter()
        self._is_armed = is_armed
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def arm(self) -> None:
        """Count from now on."""
        self._is_armed = True

    def step(self, name: str) -> None:
        """A step is reached."""
        if not self._is_armed:
            return
        self._counts[name] += 1
        step = f"{name}#{self._counts[name]}"
        os.write(self._trace, f"{step}\n".encode())
        if step == self._at:
            os._exit(CODE)

    def around(self, owner: Any, method: str, name: Callable[..., str | None]) -> None:
        """Make each call of this coroutine function two steps; ``name`` says which (None: none)."""
        original: Callable[..., Awaitable[Any]] = getattr(owner, method)

        @functools.wraps(original)
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            step = name(*args, **kwargs)
            if step is None:
                return await original(*args, **kwargs)
            self.step(f"before {step}")
            result = await original(*args, **kwargs)
            self.step(f"after {step}")
            return result

        setattr(owner, method, wrapped)


def install(steps: Steps) -> None:
    """Wrap what a task awaits: own, prove, restore, look, begin, send, commit, deliver, leave."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient

    import consumer.tasks.partition.restoration
    from consumer.input.partition_input import PartitionInput
    from providers.http import HttpSender

    def fixed(name: str) -> Callable[..., str]:
        return lambda *args, **kwargs: name

    steps.around(AIOKafkaProducer, "start", fixed("own"))
    steps.around(AIOKafkaAdminClient, "list_consumer_group_offsets", fixed("group offset"))
    steps.around(AIOKafkaConsumer, "commit", fixed("prove"))
    steps.around(consumer.tasks.partition.restoration, "restore", fixed("restore"))
    steps.around(PartitionInput, "look", fixed("look at the log"))
    steps.around(AIOKafkaProducer, "begin_transaction", fixed("begin"))
    steps.around(AIOKafkaProducer, "send", fixed("send"))
    steps.around(AIOKafkaProducer, "send_batch", fixed("send"))
    steps.around(AIOKafkaProducer, "commit_transaction", fixed("commit"))
    steps.around(AIOKafkaProducer, "stop", fixed("close producer"))
    steps.around(AIOKafkaConsumer, "stop", fixed("leave"))
    steps.around(HttpSender, "send", lambda sender, request, *rest, **more: f"deliver {_action(request)}")
    gather = asyncio.gather

    # The sends of a checkpoint are awaited together: the moment when all records lie in the log, uncommitted.
    def gathered(*awaitables: Any, **kwargs: Any) -> Any:
        future = gather(*awaitables, **kwargs)
        if sys._getframe(1).f_code.co_name != "_send":
            return future

        async def sent() -> Any:
            steps.step("before all sends")
            result = await future
            steps.step("after all sends")
            return result

        return sent()

    asyncio.gather = gathered


def _action(request: Any) -> str:
    body = request.body if isinstance(request.body, dict) else {}
    return str(body.get("event_action", request.url.rpartition("/")[2]))


def main() -> int:
    """Wrap, then run the command."""
    from consumer.cli.main import main as real_main

    is_armed = os.environ["CHAOS_ARM"] == "start"
    steps = Steps(os.environ["CHAOS_CRASH_AT"], is_armed, os.environ["CHAOS_TRACE"])
    install(steps)
    signal.signal(signal.SIGUSR1, lambda *_: steps.arm())
    return real_main()


if __name__ == "__main__":
    sys.exit(main())
