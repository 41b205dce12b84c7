"""The service with a wrong wall clock: `python -m tests.chaos.skewed run --config FILE`, CHAOS_SKEW_SECONDS off.

What it sends and logs has that clock too; the monotonic clocks are the machine's.
"""

import os
import sys
import time

_skew = float(os.environ["CHAOS_SKEW_SECONDS"])
_time = time.time
time.time = lambda: _time() + _skew

if __name__ == "__main__":
    from consumer.cli.main import main

    sys.exit(main())
