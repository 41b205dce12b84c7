"""The command with Shout in its table of providers."""

import sys

import providers.table
from tests.support.shout.provider import Shout
from tests.support.shout.settings import ShoutSettings

providers.table.PROVIDERS["shout"] = providers.table.Kind(ShoutSettings, Shout)  # a line of the table

if __name__ == "__main__":
    from consumer.cli.main import main

    sys.exit(main())
