"""The settings of a provider that the configuration describes (``exporters.alerting.http.<name>``)."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, SecretStr, model_validator

from providers.configured import facts
from providers.configured.facts import Known
from providers.configured.keys import Writing
from providers.configured.statuses import Statuses
from providers.configured.template import (
    Names,
    compile_address,
    compile_text,
    compile_tree,
    literals_of,
    texts_of,
)
from providers.contained import LEAST_KEY_LIMIT
from providers.integration import DEFAULT_ROUTE
from providers.located import Mistake, located
from providers.masking import SHORTEST
from providers.settings import ApiKey, NonEmpty, PipelineSettings, Settings, SeverityName, check_retired
from state.violation import SEVERITY_BY_LABEL

NOTHING: Final = "none"
"""The value that stands in the configuration for a call that is not to be made."""

_METHOD = Literal["POST", "PUT", "PATCH", "DELETE", "GET"]
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_OURS: Final = frozenset({"content-type", "content-length", "transfer-encoding", "connection", "host"})
_PLAIN: Final = frozenset({"accept", "user-agent"})
"""The headers that never hold a secret."""

_SURELY_LONG: Final = 20
"""A part of an address with at least so many characters counts as a secret, even if it looks like a word."""


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("must be the name of a header")
    if name.lower() in _OURS:
        raise ValueError("is set by the service itself")
    return name


def _header_value(value: str) -> str:
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValueError("must be visible ASCII characters, with spaces between them")
    return value


def _with_default_severities(value: Any) -> Any:
    return {**{label: label for label in SEVERITY_BY_LABEL}, **value} if isinstance(value, dict) else value


HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
SeverityMapping = Annotated[dict[SeverityName, JsonValue], BeforeValidator(_with_default_severities)]


class Call(Settings):
    """One notification: its body, and where it goes if that is not where all go."""

    method: _METHOD | None = None
    address: NonEmpty | None = Field(default=None, repr=False)
    body: dict[str, JsonValue] | None = None


class CheckCall(Call):
    """A call that notifies nobody, and is accepted only if the key works."""


class ConfiguredRouting(Settings):
    """Which secret a trigger is sent with: by guard, else by tenant, else by severity, else the default one."""

    by_guard: dict[NonEmpty, ApiKey] = {}
    by_tenant: dict[NonEmpty, ApiKey] = {}
    by_severity: dict[SeverityName, ApiKey] = {}


Meaning = Literal["accepted", "rejected", "refused", "later"]
_MEANINGS: Final[tuple[Meaning, ...]] = ("accepted", "rejected", "refused", "later")


class Answers(Settings):
    """What the statuses mean. One that stands nowhere means what it usually does."""

    accepted: Statuses = Field(default=frozenset(range(200, 300)))
    rejected: Statuses = Field(default=frozenset())
    refused: Statuses = Field(default=frozenset({401, 403}))
    later: Statuses = Field(default=frozenset())

    @model_validator(mode="after")
    def _mean_one_thing(self) -> Self:
        given = sorted(self.model_fields_set)
        for index, name in enumerate(given):
            for other in given[:index]:
                if common := getattr(self, name) & getattr(self, other):
                    raise ValueError(f"{min(common)} is in {other} and in {name}: a status means one thing")
        return self

    def meaning(self, status: int) -> Meaning | None:
        """What a status means; None: what it usually does. What was given goes before a default."""
        for name in sorted(_MEANINGS, key=lambda name: name not in self.model_fields_set):
            if status in getattr(self, name):
                return name
        return None


class ConfiguredHeartbeat(Settings):
    """A call that vouches for the whole group; ``interval_minutes`` may be a fraction."""

    enabled: bool = True
    address: NonEmpty = Field(repr=False)
    method: Literal["GET", "POST", "PUT", "HEAD"] = "GET"
    interval_minutes: float = Field(default=5.0, gt=0)
    status: int = Field(default=200, ge=200, le=299)


class ConfiguredSettings(PipelineSettings):
    """How a provider is told, by templates over the event (`providers.configured.template`).

    ``secret`` is what differs by route, ``secrets`` are others, by names of one's own. Through the ``retired_secrets``
    goes nothing but acknowledges and resolves of what was opened by them.
    """

    default_key_template: ClassVar[str] = "{guard}:{session_id}"

    address: NonEmpty = Field(repr=False)
    method: _METHOD = "POST"
    headers: dict[HeaderName, HeaderValue] = Field(default={}, repr=False)
    secret: ApiKey | None = None
    secrets: dict[NonEmpty, ApiKey] = {}
    retired_secrets: tuple[ApiKey, ...] = ()
    key: Writing = "as_is"
    key_limit: int = Field(default=255, ge=LEAST_KEY_LIMIT, le=4096)
    severity_mapping: SeverityMapping = Field(default={}, validate_default=True)
    trigger: Call
    update: Literal["none"] | Call | None = None
    acknowledge: Literal["none"] | Call = NOTHING
    resolve: Literal["none"] | Call
    check: Literal["resolve", "none"] | CheckCall | None = None
    answers: Answers = Answers()
    routing: ConfiguredRouting = ConfiguredRouting()
    heartbeat: ConfiguredHeartbeat | None = None

    @model_validator(mode="after")
    def _templates_can_be_rendered(self) -> Self:
        if mistakes := list(self._mistakes()):
            raise located(type(self), mistakes)
        return self

    @model_validator(mode="after")
    def _secrets_have_their_places(self) -> Self:
        keys = {key.get_secret_value(): route for route, key in reversed(list(self.route_keys().items()))}
        check_retired("retired_secrets", self.retired_secrets, keys)
        if self.secret is None and (len(keys) > 1 or self.retired_secrets):
            raise ValueError("secret: is required where routes have one of their own")
        if self.check == "resolve" and not isinstance(self.resolve, Call):
            raise ValueError("check: is the resolve of an alert that there is not, and resolve is none")
        return self

    # what is told

    def calls(self) -> Iterator[tuple[str, Call, Known]]:
        """Each call that there is, by the name of its setting, and what its templates can be told."""
        for name, call, known in (
            ("trigger", self.trigger, facts.OF_TRIGGER),
            ("update", self.update, facts.OF_TRIGGER),
            ("acknowledge", self.acknowledge, facts.OF_ACKNOWLEDGE),
            ("resolve", self.resolve, facts.OF_RESOLVE),
            ("check", self.check, facts.OF_NOTHING),
        ):
            if isinstance(call, Call):
                yield name, call, known

    def names(self, known: Known) -> Names:
        """The placeholders of a template that can be told these facts."""
        secrets = {name: secret.get_secret_value() for name, secret in self.secrets.items()}
        return Names(known, self.secret is not None, secrets)

    def _mistakes(self) -> Iterator[Mistake]:
        of_nothing = self.names(facts.OF_NOTHING)
        for name, value in self.headers.items():
            yield from _wrong(("headers", name), partial(compile_text, value, of_nothing))
        addresses: list[Mistake] = []
        for name, call, known in self.calls():
            at = ("address",) if call.address is None else (name, "address")
            addresses += _wrong(at, partial(compile_address, call.address or self.address, self.names(known)))
            for way, text in texts_of(call.body):
                yield from _wrong((name, "body", *way), partial(compile_tree, text, self.names(known)))
        yield from {location: (location, message) for location, message in reversed(addresses)}.values()
        for label, mapped in self.severity_mapping.items():
            yield from _wrong(("severity_mapping", label), partial(compile_tree, mapped, Names(facts.OF_NOTHING)))
        if self.heartbeat is not None:
            at = ("heartbeat", "address")
            yield from _wrong(at, partial(compile_address, self.heartbeat.address, of_nothing))

    # what the service asks of all

    def endpoint(self) -> str:
        """The method and the host. The path is left out, because it may hold a secret."""
        parts = urlsplit(self.address)
        return f"{self.method} {parts.scheme}://{parts.netloc}"

    def route_keys(self) -> Mapping[str, SecretStr]:
        """``default``, ``by_guard:secret_leak``, …: in the order of precedence; the address for want of a secret."""
        routing = self.routing
        return {
            DEFAULT_ROUTE: self.secret if self.secret is not None else SecretStr(self.address),
            **{f"by_guard:{guard}": key for guard, key in routing.by_guard.items()},
            **{f"by_tenant:{tenant}": key for tenant, key in routing.by_tenant.items()},
            **{f"by_severity:{severity}": key for severity, key in routing.by_severity.items()},
        }

    def retired_keys(self) -> Sequence[SecretStr]:
        """The secrets by which alerts were opened before."""
        return self.retired_secrets

    def routed_guards(self) -> Collection[str]:
        """The guards that have a secret of their own."""
        return self.routing.by_guard.keys()

    def routed_severities(self) -> Collection[SeverityName]:
        """The severities that have a secret of their own."""
        return self.routing.by_severity.keys()

    def described(self) -> Iterator[tuple[str, str]]:
        """How the provider is told of alerts, and what it is not told."""
        yield (
            "key",
            {"as_is": "as it is", "hash": "a hash of it", "lower_case_safe": "safe without regard to case"}[self.key],
        )
        told = {name for name, _, _ in self.calls()}
        if self.update is None:
            yield "updates", "as triggers"
        for name, what in (("update", "updates"), ("acknowledge", "acknowledges"), ("resolve", "resolves")):
            if name not in told and getattr(self, name) is not None:
                yield what, "not told"
        check = self.checking
        yield "route check", "none" if check is None else "a call of its own" if check is self.check else "by a resolve"
        beat = self.heartbeat
        is_on = beat is not None and beat.enabled
        yield "heartbeat", f"every {beat.interval_minutes:g} min" if beat is not None and is_on else "none"

    @property
    def checking(self) -> Call | None:
        """The call that checks a key, if there is one."""
        if isinstance(self.check, Call):
            return self.check
        return self.resolve if self.check != NOTHING and isinstance(self.resolve, Call) else None

    def concealed(self) -> Iterable[str]:
        """What in addresses and headers may be a secret: each part that is not a word."""
        addresses = [self.address, *(call.address for _, call, _ in self.calls() if call.address is not None)]
        if self.heartbeat is not None:
            addresses.append(self.heartbeat.address)
        for address in addresses:
            for literal in literals_of(address):
                for part in re.split(r"[/?&=]", literal.partition("://")[2] or literal):
                    if _may_be_secret(part) and part != urlsplit(address).netloc:
                        yield part
        for name, value in self.headers.items():
            if name.lower() not in _PLAIN:
                parts = (part for literal in literals_of(value) for part in literal.split())
                yield from (part for part in parts if len(part) >= SHORTEST)


def _may_be_secret(part: str) -> bool:
    is_no_word = part != part.lower() or any(character.isdigit() for character in part)
    return len(part) >= _SURELY_LONG or (len(part) >= SHORTEST and is_no_word)


def _wrong(location: tuple[str | int, ...], compile: Callable[[], object]) -> Iterator[Mistake]:
    try:
        compile()
    except ValueError as error:
        yield location, str(error)
