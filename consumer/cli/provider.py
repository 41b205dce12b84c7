"""``--provider NAME``, of commands that are about one provider."""

import argparse
from typing import Any

from consumer.cli.with_configuration import UsageError
from consumer.config import Config
from providers.names import check_name
from providers.table import DESCRIBED, PROVIDERS, place_of


def add_provider(
    parser: Any,
    option: str = "--provider",
    *,
    required: bool = False,
    help: str | None = None,
    dest: str = "provider",
) -> None:
    """Let a provider be given as ``--provider NAME``: one of the table, or one that the configuration describes."""
    names = ",".join((*PROVIDERS, "NAME"))
    said = f"NAME: of a section below exporters.alerting.{DESCRIBED}"
    parser.add_argument(
        option,
        dest=dest,
        metavar=f"{{{names}}}",
        type=_provider_name,
        required=required,
        help=said if help is None else f"{help}; {said}",
    )


def _provider_name(argument: str) -> str:
    try:
        return check_name(argument)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def not_configured(provider: str) -> UsageError:
    """What a command ends with that is about a provider which the configuration lacks."""
    return UsageError(f"{place_of(provider)}: is not configured")


def require_known(provider: str | None, config: Config) -> None:
    """Raises `UsageError` for a name of nothing: a mistyped one, for which there would be nothing to see."""
    if provider is not None and provider not in PROVIDERS and provider not in config.exporters.alerting.sections:
        raise not_configured(provider)
