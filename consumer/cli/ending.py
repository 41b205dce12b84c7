"""What the commands about a configuration begin with."""

from collections.abc import Callable
from pathlib import Path

from consumer.config import Config, load_config
from providers.errors import Mistake


class UsageError(Mistake):
    """The arguments do not fit the configuration."""


def with_configuration(path: Path, act: Callable[[Config], int]) -> int:
    """What ``act`` gives for the configuration in this file. Raises `Mistake` if it is none, or has no provider."""
    config = load_config(path)
    if not config.pipelines:
        raise UsageError("exporters.alerting: no provider is configured and enabled")
    return act(config)
