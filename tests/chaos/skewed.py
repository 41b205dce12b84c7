"""The service with a wall clock that is wrong and jumps: `python -m tests.chaos.skewed run --config FILE`.

It is CHAOS_SKEW_SECONDS off, and as much off to the other side from CHAOS_JUMP_AFTER seconds on. What it sends and logs
has that clock too; the monotonic clocks are the machine's.
"""

import os
import sys
import time

_skew = float(os.environ["CHAOS_SKEW_SECONDS"])
_jump_at = time.monotonic() + float(os.environ["CHAOS_JUMP_AFTER"])
_time = time.time
time.time = lambda: _time() + (_skew if time.monotonic() < _jump_at else -_skew)

if __name__ == "__main__":
    from consumer.cli.main import main

    sys.exit(main())
