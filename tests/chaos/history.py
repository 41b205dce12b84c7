"""The account of the history: of every alert that the state has had, each step once, in order (design section 21)."""

from collections import defaultdict
from collections.abc import Iterator

from consumer.history.step import Kind, Step
from tests.chaos.finding import Finding
from tests.chaos.keying import is_of
from tests.chaos.reader import Reader
from tests.support.history_account import History, wrong_at_rest


def history_findings(reader: Reader, prefix: str) -> Iterator[Finding]:
    """What is wrong with the histories of all sessions whose name begins with ``prefix``, once all is told.

    Of a key that was handed over only its lives are counted: two tasks write steps of it, each in its own order.
    """
    steps: dict[tuple[str, str], list[Step]] = defaultdict(list)
    for step in reader.steps:
        steps[step.provider, step.dedup_key].append(step)
    for provider in reader.providers:
        alerts = reader.open_alerts(provider)
        for key, written in reader.history[provider].items():
            if not is_of(key, provider, prefix):
                continue
            told = steps[provider, key]
            lives = {one.begun for one in written if one is not None and one.begun is not None}
            if missing := lives - {step.life for step in told}:
                yield Finding("history", provider, key, f"nothing is told of the lives {sorted(missing)}")
            if any(step.kind is Kind.HANDED_OVER for step in told):
                continue
            history = History()
            for step in told:
                history.take(step)
            here = {key: alert} if (alert := alerts.get(key)) is not None else {}
            for wrong in wrong_at_rest([history] if told else [], here):
                yield Finding("history", provider, key, wrong)
