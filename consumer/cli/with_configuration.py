"""Loads the configuration for the commands that need one."""

from collections.abc import Callable
from pathlib import Path

from consumer.config import Config, load_config
from providers.errors import Mistake


class UsageError(Mistake):
    """The arguments do not fit the configuration."""


def with_configuration(path: Path, act: Callable[[Config], int], *, needs_provider: bool = True) -> int:
    """The result of ``act`` for the configuration in this file.

    Raises `Mistake` if the file is no valid configuration, or has no provider although ``needs_provider``.
    """
    config = load_config(path)
    if needs_provider and not config.pipelines:
        raise UsageError("exporters.alerting: no provider is configured and enabled")
    return act(config)
