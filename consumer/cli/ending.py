"""What the commands about a configuration begin with."""

from collections.abc import Callable
from pathlib import Path

from consumer.config import Config, load_config
from providers.errors import Mistake


class UsageError(Mistake):
    """The arguments do not fit the configuration."""


def with_configuration(path: Path, act: Callable[[Config], int], *, needs_provider: bool = True) -> int:
    """What ``act`` gives for the configuration in this file.

    Raises `Mistake` if it is none, or has no provider, unless the command needs none.
    """
    config = load_config(path)
    if needs_provider and not config.pipelines:
        raise UsageError("exporters.alerting: no provider is configured and enabled")
    return act(config)
