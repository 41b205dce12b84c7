"""The common parts of all providers' settings: a strict, frozen model and a few checked types.

No message of these checks contains the checked value: it may be a secret.
"""

import ipaddress
import re
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

SeverityName = Literal["info", "low", "medium", "high", "critical"]
"""A severity as it stands in events and in the configuration (``state.violation.Severity.label``)."""

NonEmpty = Annotated[str, Field(min_length=1)]


class Settings(BaseModel):
    """The base of every part of the configuration: unknown keys are errors, values do not change.

    Raises `pydantic.ValidationError` if a value is wrong; its text leaves out the input, as that may hold secrets.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# Users copy the address of a call from the provider's pages. The part that belongs to the call begins with the version.
_OF_A_CALL = re.compile(r"/+v2(?:/+(?:enqueue|change|alerts|heartbeats)(?:/.*)?)?/*", re.IGNORECASE | re.DOTALL)


def check_address(url: str) -> str:
    """An address that requests may go to, as it is; a query is part of it.

    Raises `ValueError` if it is not an http(s) address, if it is plain http to another machine, or if it carries
    credentials or a fragment.
    """
    malformed = "must be an address such as https://api.example.com"
    # urlsplit drops line breaks and tabs silently; an address with them is a mistake, not a spelling.
    if not url.isascii() or any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError(malformed)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(malformed) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(malformed)
    if "@" in parts.netloc:
        raise ValueError("must not contain credentials")
    if "#" in url:
        raise ValueError("must not contain a fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https, except on loopback")
    return url


def check_endpoint(url: str) -> str:
    """The base address of an API, without a trailing slash; a path prefix is kept.

    Raises `ValueError` as `check_address` does, and if the address has a query, or is that of a call (paths are
    appended to it).
    """
    if "?" in url or "#" in url:
        check_address(url.partition("?")[0].partition("#")[0])
        raise ValueError("must not contain a query or a fragment")
    parts = urlsplit(check_address(url))
    # From the right, as the prefix may have such a part, too.
    for at in reversed([match.start() for match in re.finditer(r"/+v2(?=/|\Z)", parts.path, re.IGNORECASE)]):
        if _OF_A_CALL.fullmatch(parts.path, at):
            base = f"{parts.scheme}://{parts.netloc}{parts.path[:at]}"
            raise ValueError(f"must be the base address, to which the path of each call is added: {base}")
    return url.rstrip("/")


def check_secret(secret: SecretStr) -> SecretStr:
    """Check that a secret can be written into a header or a body unchanged, and return it.

    Raises `ValueError` if it is empty, or has characters that no key has (a line break from a file, a space from a
    paste).
    """
    text = secret.get_secret_value()
    if not text:
        raise ValueError("must not be empty")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must consist of visible ASCII characters")
    return secret


def check_retired(name: str, retired: Sequence[SecretStr], in_use: Mapping[str, str]) -> None:
    """Check the retired keys of the setting with this ``name``; ``in_use`` are the routes in use, by key.

    Raises `ValueError` if a retired key is in use or is listed twice.
    """
    seen: dict[str, int] = {}
    for index, secret in enumerate(retired):
        key = secret.get_secret_value()
        if key in in_use:
            raise ValueError(f"{name}.{index}: is the key of route {in_use[key]}, which is in use")
        if key in seen:
            raise ValueError(f"{name}.{index}: is the same key as {name}.{seen[key]}")
        seen[key] = index


Endpoint = Annotated[str, AfterValidator(check_endpoint)]
ApiKey = Annotated[SecretStr, AfterValidator(check_secret)]


class PipelineSettings(Settings):
    """What the service needs of the settings of every provider, whichever that is.

    ``default_key_template`` is the template of the dedup key if the configuration has none.
    """

    default_key_template: ClassVar[str]

    @abstractmethod
    def endpoint(self) -> str:
        """Where its requests go, for people: without any secret."""

    @abstractmethod
    def route_keys(self) -> Mapping[str, SecretStr]:
        """The key of every route that triggers can take, by the route's name, ``default`` first."""

    @abstractmethod
    def retired_keys(self) -> Sequence[SecretStr]:
        """The retired keys: only acknowledges and resolves of alerts that they have opened still go through them."""

    @abstractmethod
    def routed_guards(self) -> Collection[str]:
        """The guards whose alerts take a route of their own."""

    @abstractmethod
    def routed_severities(self) -> Collection[SeverityName]:
        """The severities whose alerts take a route of their own."""

    def described(self) -> Iterator[tuple[str, str]]:
        """Further lines that ``check-config`` shows: a name (empty if it is that of the line before) and a text."""
        yield from ()

    def concealed(self) -> Iterable[str]:
        """Texts that must not be seen, besides the values of a secret type: the secret parts of other texts."""
        return ()


class ProviderSettings(PipelineSettings):
    """The settings of a provider whose calls are below one base address."""

    api_endpoint: Endpoint

    def endpoint(self) -> str:
        """The base address."""
        return self.api_endpoint
