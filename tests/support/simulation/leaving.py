"""Which dispatch a request belongs to: delivery does not tell the sender, so the outbox is watched.

The coroutine that makes a request inherits the context in which its dispatch was taken.
"""

from contextvars import ContextVar

from consumer.tasks.alerting.outbox import TaskOutbox
from providers.delivery.outbox import Dispatch

_LEAVING: ContextVar[Dispatch] = ContextVar("leaving")


def watch(outbox: TaskOutbox) -> None:
    """From now on `leaving` knows what is taken from this outbox."""
    take = outbox.take

    def watched(dedup_key: str, route: str) -> Dispatch | None:
        dispatch = take(dedup_key, route)
        if dispatch is not None:
            _LEAVING.set(dispatch)
        return dispatch

    outbox.take = watched  # type: ignore[method-assign]


def leaving() -> Dispatch:
    """What the request that is being made was dispatched with."""
    return _LEAVING.get()
