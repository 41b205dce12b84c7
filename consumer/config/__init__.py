"""The configuration: one YAML file, checked once, then trusted (design section 11)."""

from consumer.config.contradictions import without_effect
from consumer.config.ingest import IngestConfig
from consumer.config.kafka import UNKEYED, KafkaConfig, SecurityConfig, TopicsConfig, needs_repartition
from consumer.config.load import load_config, parse_config, read_text
from consumer.config.models import (
    AlertingConfig,
    AutoResolve,
    Config,
    Deduplication,
    EventRule,
    ProviderSection,
    secrets_of,
    short_secrets,
)
from consumer.config.problem import ConfigError, Problem
from consumer.config.service import (
    DeliveryConfig,
    LogConfig,
    OpsGenieWebhooks,
    PagerDutyWebhooks,
    RetryConfig,
    ServerConfig,
    WebhooksConfig,
)

__all__ = [
    "UNKEYED",
    "AlertingConfig",
    "AutoResolve",
    "Config",
    "ConfigError",
    "Deduplication",
    "DeliveryConfig",
    "EventRule",
    "IngestConfig",
    "KafkaConfig",
    "LogConfig",
    "OpsGenieWebhooks",
    "PagerDutyWebhooks",
    "Problem",
    "ProviderSection",
    "RetryConfig",
    "SecurityConfig",
    "ServerConfig",
    "TopicsConfig",
    "WebhooksConfig",
    "load_config",
    "needs_repartition",
    "parse_config",
    "read_text",
    "secrets_of",
    "short_secrets",
    "without_effect",
]
