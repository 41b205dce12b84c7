"""How commands end: the configuration is loaded, the work is done, and what the user can mend is one line on stderr."""

from collections.abc import Callable
from pathlib import Path

from consumer.cli.terminal import complain
from consumer.config import Config, ConfigError, load_config
from consumer.instance_id import InstanceIdTaken
from consumer.server.app import ServerError
from consumer.startup import StartupError
from consumer.tls import UnusableFiles


class UsageError(Exception):
    """The arguments do not fit the configuration: one line for the user, exit code 2."""


_MISTAKES = (ConfigError, UsageError, UnusableFiles)
_FAILURES = (StartupError, ServerError, InstanceIdTaken)
ENDINGS = (*_MISTAKES, *_FAILURES)
"""What ends a command with one line for the user, and no traceback."""


def with_configuration(path: Path, act: Callable[[Config], int], *, needs_provider: bool = True) -> int:
    """What ``act`` gives for the configuration in this file; 1 if it failed, 2 for the input.

    A file without a provider is a mistake unless the command needs none."""
    try:
        config = load_config(path)
        if needs_provider and not config.pipelines:
            raise UsageError("exporters.alerting: no provider is configured and enabled")
        return act(config)
    except _MISTAKES as error:
        complain(str(error).splitlines())
        return 2
    except _FAILURES as error:
        complain(str(error).splitlines())
        return 1
