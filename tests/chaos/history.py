"""The account of the history: of every alert that the state has had, each step once, in order (design section 21)."""

from collections import defaultdict
from collections.abc import Iterator

from consumer.history.step import Step, StepKind
from tests.chaos.finding import Finding
from tests.chaos.happened import Happened
from tests.chaos.keying import dedup_key, is_of
from tests.chaos.reader import Event, Reader
from tests.chaos.silences import Silences
from tests.support.history_account import History, wrong_at_rest


def history_findings(reader: Reader, prefix: str, happened: Happened | None = None) -> Iterator[Finding]:
    """What is wrong with the histories of all sessions whose name begins with ``prefix``, once all is told."""
    steps: dict[tuple[str, str], list[Step]] = defaultdict(list)
    for step in reader.steps:
        steps[step.provider, step.dedup_key].append(step)
    happened = happened or Happened()
    for provider in reader.providers:
        for key in _begun_in_silence(reader, provider, prefix, happened):
            if not any(step.kind is StepKind.SILENCED for step in steps[provider, key]):
                yield Finding("history", provider, key, "it began in silence, and nothing is told of that")
        alerts = reader.open_alerts(provider)
        for key, written in reader.history[provider].items():
            if not is_of(key, provider, prefix):
                continue
            told = steps[provider, key]
            lives = {one.begun for one in written if one is not None and one.begun is not None}
            if missing := lives - {step.life for step in told}:
                yield Finding("history", provider, key, f"nothing is told of the lives {sorted(missing)}")
            history = History()
            for step in told:
                history.take(step)
            here = {key: alert} if (alert := alerts.get(key)) is not None else {}
            for wrong in wrong_at_rest([history] if told else [], here):
                yield Finding("history", provider, key, wrong)


def _begun_in_silence(reader: Reader, provider: str, prefix: str, happened: Happened) -> Iterator[str]:
    """The keys whose first event was silenced for certain."""
    first: dict[str, Event] = {}
    for event in sorted(reader.events, key=lambda one: one.order):
        if event.guard is not None and event.session.startswith(prefix):
            first.setdefault(dedup_key(provider, event, happened.renderings), event)
    silences = Silences(reader.silences, happened.deaf)
    for key, event in first.items():
        of_event = silences.of(provider, event.guard, event.session, is_critical=event.is_critical)
        if any(silences.earliest_end(one, event.sent) is not None for one in of_event):
            yield key
