"""``python -m providers.sandbox``: the same as ``clawdstrike-alerting sandbox``."""

import argparse
import sys
from collections.abc import Sequence

from providers.sandbox.serve import DESCRIPTION, SandboxNotServed, add_options, serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal says to end. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m providers.sandbox", description=DESCRIPTION)
    add_options(parser)
    try:
        serve(parser.parse_args(arguments))
    except SandboxNotServed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
