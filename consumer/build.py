"""From the configuration to pipelines: the one place where settings become parts."""

from consumer.config import Config, OpsGenieSection, PagerDutySection, needs_repartition
from consumer.event import Decoder
from consumer.filter import EndRule, EndRules, Filter
from consumer.keys import KeyTemplate
from consumer.pipeline import Pipeline
from providers.opsgenie.provider import OpsGenie
from providers.pagerduty.provider import PagerDuty
from providers.provider import Provider
from state.alert import Policy


class NotSupported(Exception):
    """The configuration is valid, but asks for a part that this version does not have."""


def build_pipelines(config: Config) -> list[Pipeline]:
    """One pipeline for each configured provider. Raises `NotSupported` where one needs the repartition stage."""
    return [_build(config, name, section) for name, section in config.sections.items()]


def _build(config: Config, name: str, section: PagerDutySection | OpsGenieSection) -> Pipeline:
    provider: Provider = PagerDuty(section) if isinstance(section, PagerDutySection) else OpsGenie(section)
    template = KeyTemplate.parse(section.deduplication.key_template, provider.key_limit)
    if needs_repartition(template, config.kafka.event_key):
        raise NotSupported(
            f"exporters.alerting.{name}.deduplication.key_template: '{template.text}' does not contain the field that "
            f"the engine keys its records by (kafka.event_key: {config.kafka.event_key}), so events of one alert can "
            "be in several partitions; that needs the repartition stage, which this version does not have"
        )
    alerting, delivery, resolve = config.exporters.alerting, config.delivery, section.auto_resolve
    filter = Filter(
        alerting.min_severity,
        alerting.include_guards,
        alerting.exclude_guards,
        alerting.include_event_types,
        alerting.exclude_event_types,
    )
    return Pipeline(
        provider=provider,
        group_id=config.kafka.group(name),
        input_topic=config.kafka.topics.events,
        state_topic=config.kafka.state_topic(name),
        dlq_topic=config.kafka.topics.dlq,
        decoder=Decoder(filter, _ends(section, template), delivery.max_event_bytes),
        template=template,
        policy=Policy(
            section.deduplication.window_seconds,
            section.deduplication.renotify_seconds,
            resolve.after_minutes * 60 if resolve.enabled else None,
            delivery.forget_after,
        ),
        max_event_age=delivery.max_event_age,
        give_up_seconds=delivery.give_up_after,
        timeout_seconds=delivery.timeout_seconds,
        commit_interval=delivery.commit_interval_ms / 1000,
        max_owed=delivery.max_owed,
    )


def _ends(section: PagerDutySection | OpsGenieSection, template: KeyTemplate) -> EndRules | None:
    resolve = section.auto_resolve
    if not resolve.enabled:
        return None
    return EndRules(
        on_session_end=resolve.on_session_end and "session_id" in template.fields,
        on_events=tuple(EndRule(rule.event_type, rule.guard, rule.allowed) for rule in resolve.on_events),
    )
