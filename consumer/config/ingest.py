"""The ``ingest`` section: how events come in over HTTP."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from consumer.config.durations import PositiveDuration
from consumer.config.service import Port
from providers.settings import ApiKey, NonEmpty, Settings

LARGEST_BODY = 1 << 20
"""The largest request body in bytes: splitting a larger one would stop the event loop for more than 50 ms."""

SHORTEST_TOKEN = 16
"""The fewest characters of a token: a shorter token can be guessed."""


def _is_long(token: SecretStr) -> SecretStr:
    if len(token.get_secret_value()) < SHORTEST_TOKEN:
        raise ValueError(f"must be at least {SHORTEST_TOKEN} characters")
    return token


Token = Annotated[ApiKey, AfterValidator(_is_long)]


class IngestConfig(Settings):
    """Events over HTTP: where the service listens for them, and who may send. Durations are in seconds.

    ``enabled`` concerns the process of ``run``; the command ``ingest`` needs no such setting. Each of several
    ``tokens`` is valid, so that one can be replaced. ``max_body_bytes`` is the limit for a request's body, before and
    after it is decompressed; ``max_waiting_bytes`` is the limit for all that was received and that Kafka has not
    accepted yet.
    """

    enabled: bool = False
    host: NonEmpty = "127.0.0.1"
    port: Port = 8082
    tokens: tuple[Token, ...] = ()
    max_body_bytes: int = Field(default=LARGEST_BODY, ge=1024, le=LARGEST_BODY)
    max_waiting_bytes: int = Field(default=8 << 20, ge=LARGEST_BODY, le=1 << 30)
    max_connections: int = Field(default=1000, ge=1, le=100_000)
    answer_within: PositiveDuration = 10.0

    @model_validator(mode="after")
    def _somebody_may_send(self) -> Self:
        if self.enabled and not self.tokens:
            raise ValueError("tokens: is required with enabled: what senders have as bearer token, at least one")
        return self
