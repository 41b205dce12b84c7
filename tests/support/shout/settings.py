"""The settings of Shout."""

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from pydantic import SecretStr

from providers.settings import ApiKey, Endpoint, ProviderSettings, SeverityName


class ShoutSettings(ProviderSettings):
    """One key, and nothing else."""

    default_key_template: ClassVar[str] = "shout/{guard}/{session_id}"

    token: ApiKey
    api_endpoint: Endpoint = "https://shout.example"

    def route_keys(self) -> Mapping[str, SecretStr]:
        return {"default": self.token}

    def retired_keys(self) -> Sequence[SecretStr]:
        return ()

    def routed_guards(self) -> Collection[str]:
        return ()

    def routed_severities(self) -> Collection[SeverityName]:
        return ()
