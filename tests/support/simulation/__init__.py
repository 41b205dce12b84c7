"""The life of alerts, simulated: the real task, outbox, delivery, store and records; a simulated provider and Kafka.

A *walk* is a list of steps, each a name and a small number that chooses among what is possible; a step that is not
possible does nothing, so any part of a walk is a walk, and a failing one shrinks by leaving steps out. The member's
wall clock may be wrong by a year, its key may be revoked for a while, and in a *tight* simulation its route may owe one
trigger only. In a *routed* one there are routes by severity, and from one owner to the next keys are rotated, routes
renamed and removed; in a *shared* one keys are rotated of an account that has one alert for all of them. Events can
be silenced, and a member reads of a silence late. After every
step the promises of design section 5 are checked, as `tests.model.alert` does; at the end everything is delivered and
committed, and here and the provider must agree.

``run`` puts together what there is: the ``world`` with its time; the ``events`` and their ``fates``; ``silences``;
the ``routing`` of keys and the ``incidents`` that are open; the ``member`` with its ``pipeline``; the ``provider`` that
answers, and ``people`` at it; the steps (``input_steps``, ``member_steps``, ``provider_steps``, ``long_steps``); and
the promises: when a request leaves (``leaving_promises``), after every step (``promises``), and at ``rest``.

Time is a number (`VirtualLoop`). The same walk does the same, but for where a task lets others run: that goes by the
time which it has really taken.
"""

from tests.support.simulation.pipeline import QUIET, RENOTIFY, TIMEOUT
from tests.support.simulation.run import Simulation, simulate
from tests.support.simulation.world import EPOCH, BrokenPromise

__all__ = ["EPOCH", "QUIET", "RENOTIFY", "TIMEOUT", "BrokenPromise", "Simulation", "simulate"]
