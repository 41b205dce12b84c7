"""A measured side runs in a process of its own: ``python -m tests.bench.child MODULE FUNCTION``, its task on stdin.

The function is async; it takes a `Meter` and the fields of the task, and measures what lies between `Meter.start` and
`Meter.stop`. CPU is that of the whole process, its threads and the kernel's work for it included.
"""

import asyncio
import contextlib
import cProfile
import importlib
import io
import json
import pstats
import resource
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any

PROFILE_LINES = 45
TIMEOUT_SECONDS = 1800.0

Side = Callable[..., Coroutine[Any, Any, None]]


@dataclass
class Result:
    """What a side came to. ``values`` and ``told`` are its own; ``profile`` is empty unless it was asked for."""

    cpu: float = 0.0
    wall: float = 0.0
    values: dict[str, float] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    profile: str = ""


class Meter:
    """Takes the times of one side."""

    def __init__(self, *, profile: bool = False) -> None:
        self.result = Result()
        self._profile = cProfile.Profile() if profile else None
        self._started: tuple[float, float] | None = None

    def start(self) -> None:
        """From here on it counts."""
        if self._profile is not None:
            self._profile.enable()
        self._started = time.process_time(), time.monotonic()

    def stop(self) -> None:
        """Up to here it counts."""
        cpu, wall = time.process_time(), time.monotonic()
        assert self._started is not None
        self.result.cpu, self.result.wall = cpu - self._started[0], wall - self._started[1]
        if self._profile is not None:
            self._profile.disable()
            text = io.StringIO()
            pstats.Stats(self._profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(PROFILE_LINES)
            self.result.profile = text.getvalue()


def resident_bytes() -> int:
    """The memory of this process (where ``/proc`` does not tell: the most that it has had)."""
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def measure(side: Side, *, profile: bool = False, **task: Any) -> Result:
    """Run one side in a process of its own; its profile is printed if asked for.

    Raises RuntimeError, with what the process wrote, if it fails.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.child", side.__module__, side.__name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            output, errors = await process.communicate(json.dumps({"profile": profile, **task}).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"{side.__module__}.{side.__name__} failed:\n{errors.decode(errors='replace')[-4000:]}")
    result = Result(**json.loads(output))
    if profile:
        print(f"{side.__module__}.{side.__name__}\n{result.profile}", flush=True)
    return result


def main() -> None:
    """The process itself."""
    module, name = sys.argv[1:]
    task = json.load(sys.stdin)
    meter = Meter(profile=task.pop("profile"))
    side: Side = getattr(importlib.import_module(module), name)
    asyncio.run(side(meter, **task))
    print(json.dumps(asdict(meter.result)))


if __name__ == "__main__":
    main()
