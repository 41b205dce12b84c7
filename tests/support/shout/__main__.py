"""The command with Shout in its table of providers."""

import sys
from typing import Any

import providers.table
from tests.support.shout.provider import Shout
from tests.support.shout.settings import ShoutSettings

table: Any = providers.table.PROVIDERS  # to everybody else it is read-only
table["shout"] = providers.table.Kind(ShoutSettings, Shout)  # a line of the table

if __name__ == "__main__":
    from consumer.cli.main import main

    sys.exit(main())
