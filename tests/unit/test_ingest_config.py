"""The section ``ingest``: its defaults, its bounds, and that a token is a secret."""

from typing import Any

import pytest
import yaml

from consumer.config import Config, ConfigError, parse_config, secrets_of

TOKEN = "t0ken-of-the-daemon-0123456789"


def parse(**ingest: Any) -> Config:
    environ = {"TOKEN": TOKEN}
    return parse_config(yaml.safe_dump({"ingest": ingest}), environ, lambda path: f"{TOKEN}-{path}\n")


def test_nobody_may_send_by_default_and_nobody_from_elsewhere() -> None:
    ingest = Config().ingest
    assert ingest.tokens == ()
    assert (ingest.host, ingest.port) == ("127.0.0.1", 8082)


def test_tokens_come_from_the_environment_and_from_files_and_are_secrets() -> None:
    config = parse(tokens=["${TOKEN}", "${file:/run/secrets/token}"])
    expected = [TOKEN, f"{TOKEN}-/run/secrets/token"]
    assert [token.get_secret_value() for token in config.ingest.tokens] == expected
    assert TOKEN not in repr(config)
    assert secrets_of(config) == frozenset(expected)


@pytest.mark.parametrize(
    ("ingest", "said"),
    [
        ({"tokens": ["short"]}, "ingest.tokens.0: must be at least 16 characters"),
        ({"tokens": ["a token with spaces in it"]}, "ingest.tokens.0: must consist of visible ASCII characters"),
        ({"tokens": [""]}, "ingest.tokens.0: must not be empty"),
        ({"tokens": TOKEN}, "ingest.tokens: must be a list"),
        ({"max_body_bytes": 1 << 21}, "ingest.max_body_bytes: must be at most 1048576"),
        ({"max_body_bytes": 1000}, "ingest.max_body_bytes: must be at least 1024"),
        ({"max_waiting_bytes": 1000}, "ingest.max_waiting_bytes: must be at least 1048576"),
        ({"max_connections": 0}, "ingest.max_connections: must be at least 1"),
        ({"answer_within": "0s"}, "ingest.answer_within: "),
        ({"enabled": True}, "ingest: tokens: is required with enabled: "),
        ({"token": "x"}, "ingest.token: unknown key: `tokens` is meant?"),
    ],
)
def test_what_is_wrong_is_told_without_the_value(ingest: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**ingest)
    assert said in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
