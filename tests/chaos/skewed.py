"""The service with a wall clock that is wrong and jumps: `python -m tests.chaos.skewed run --config FILE`.

It is CHAOS_SKEW_SECONDS off, and as much off to the other side from CHAOS_JUMP_AFTER seconds on (if that is given).
What it sends to Kafka has that clock too (the compiled part of the client would ask the system); the monotonic clocks
are the machine's.
"""

import os
import sys
import time

os.environ["AIOKAFKA_NO_EXTENSIONS"] = "1"
_skew = float(os.environ["CHAOS_SKEW_SECONDS"])
_jump_at = time.monotonic() + float(os.environ.get("CHAOS_JUMP_AFTER", "inf"))
_time, _clock_gettime = time.time, time.clock_gettime


def _off() -> float:
    return _skew if time.monotonic() < _jump_at else -_skew


time.time = lambda: _time() + _off()
time.time_ns = lambda: int(time.time() * 1e9)
time.clock_gettime = lambda clock: _clock_gettime(clock) + (_off() if clock == time.CLOCK_REALTIME else 0.0)

if __name__ == "__main__":
    from consumer.cli.main import main

    sys.exit(main())
