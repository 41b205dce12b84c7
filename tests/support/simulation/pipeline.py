"""The pipeline of the member, and the times that it goes by, in seconds."""

from collections.abc import Callable
from typing import Any

from consumer.deciding.pipeline import Pipeline
from consumer.dlq.dead_letter import DeadLetter
from consumer.events.event import Decoder
from consumer.events.filter import EndRules, Filter
from consumer.events.keys import KeyTemplate
from consumer.silences.known import KnownSilences
from state.policy import Policy
from tests.support.simulated_provider import SimulatedProvider
from tests.support.simulation.events import INPUT_TOPIC

TIMEOUT, WINDOW, QUIET, RENOTIFY, GIVE_UP = 4.0, 10.0, 20.0, 60.0, 45.0
INTERVAL = 0.1
"""Between two commits."""


def make_pipeline(
    provider: SimulatedProvider, silences: KnownSilences, undelivered: Callable[[DeadLetter], None]
) -> Pipeline:
    """A pipeline that calls ``undelivered`` with every dead letter that it makes of what was not delivered."""

    class WatchedPipeline(Pipeline):
        def undelivered(self, owed: Any, *args: Any, **options: Any) -> DeadLetter:
            letter = Pipeline.undelivered(self, owed, *args, **options)
            undelivered(letter)
            return letter

    return WatchedPipeline(
        provider=provider,
        group_id="group",
        input_topic=INPUT_TOPIC,
        state_topic="state",
        dlq_topic="dlq",
        decoder=Decoder(Filter(), EndRules(on_session_end=True), 262_144),
        template=KeyTemplate.parse("{guard}:{session_id}"),
        policy=Policy(WINDOW, RENOTIFY, QUIET, 1e9),
        max_event_age=None,
        give_up_seconds=GIVE_UP,
        timeout_seconds=TIMEOUT,
        commit_interval=INTERVAL,
        max_owed=1000,
        silences=silences,
    )
