"""Builds the pipelines, and the stages before them, from the configuration: the only place where settings become those.

What runs one takes its own settings: its member of the group (`consumer.group.membership`) and its delivery
(`consumer.service.runner`).
"""

from consumer.config import Config, ProviderSection, needs_repartition
from consumer.deciding.pipeline import Pipeline
from consumer.events.event import Decoder
from consumer.events.filter import EndRule, EndRules
from consumer.events.keys import KeyTemplate
from consumer.events.record_key import RecordKey
from consumer.events.severities import Severities
from consumer.tasks.repartition.stage import Repartition
from providers.changes import changes_of
from providers.table import build
from state.policy import Policy


def build_pipelines(config: Config) -> list[Pipeline]:
    """One pipeline for each configured provider. Raises `providers.table.UnusableProvider` if a provider cannot be
    made."""
    return [_build(config, name, section) for name, section in config.sections.items()]


def build_repartition(config: Config, pipeline: Pipeline) -> Repartition | None:
    """The repartition stage before a pipeline; None if all events of a dedup key meet in one partition without it."""
    kafka, name = config.kafka, pipeline.provider.name
    if not needs_repartition(pipeline.template, kafka.event_key):
        return None
    return Repartition(pipeline, kafka.repartition_group(name), kafka.topics.events, kafka.positions_topic(name))


def _build(config: Config, name: str, section: ProviderSection) -> Pipeline:
    provider = build(name, section)
    template = KeyTemplate.parse(section.deduplication.key_template, provider.key_limit)
    is_keyed = needs_repartition(template, config.kafka.event_key)
    alerting, delivery, resolve = config.exporters.alerting, config.delivery, section.auto_resolve
    return Pipeline(
        provider=provider,
        group_id=config.kafka.group(name),
        input_topic=config.kafka.keyed_topic(name) if is_keyed else config.kafka.topics.events,
        state_topic=config.kafka.state_topic(name),
        dlq_topic=config.kafka.topics.dlq,
        decoder=Decoder(
            alerting.filter,
            _ends(section, template),
            delivery.max_event_bytes,
            changes_of(provider),
            Severities(alerting.treat_denied_info_as),
        ),
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
        record_key=None if is_keyed else RecordKey(config.kafka.event_key),
    )


def _ends(section: ProviderSection, template: KeyTemplate) -> EndRules | None:
    resolve = section.auto_resolve
    if not resolve.enabled:
        return None
    return EndRules(
        on_session_end=resolve.on_session_end and "session_id" in template.fields,
        on_events=tuple(EndRule(rule.event_type, rule.guard, rule.allowed) for rule in resolve.on_events),
    )
