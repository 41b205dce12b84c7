"""An exhaustive model of one alert (design sections 5, 6 and 8): one dedup key, one task, one provider.

The items of a run are produced in order: ``e`` is an alertable event, ``E`` one of a higher severity, ``r`` says that
the threat is over. The task decides them in order, delivers apart from deciding, takes a checkpoint at any moment, and
dies at any moment; quiet may end an alert when the task is caught up. One request at a time is on the wire: that the
provider takes or rejects it, and that the task hears of it, are two moments, and between them everything else can
happen. A request that times out, or is a dead owner's, can land later or never.

`explore` finds every state within small bounds, and the shortest way to each broken promise:

* ``opened twice``: an occurrence that was told opens another incident, although no request landed late;
* ``resolved live``: a resolve leaves although an event has come that is not decided yet;
* ``lost``: an occurrence was never told, nor counted into an open incident, nor into a dead letter;
* ``played down``: none of the higher severity was told, nor is one in a dead letter;
* ``open here only``, ``orphan``: at rest, one side has an open alert of which the other knows nothing.

Sets of items are bit masks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple, TypeVar


@dataclass(frozen=True)
class Rules:
    """The rules of an alert; each can be left out, to see what it is for."""

    one_transaction: bool = True
    """6: alert and position are committed together."""
    intent_is_committed: bool = True
    """6.6: a resolve leaves only once a checkpoint says that the alert is resolving."""
    intent_is_exact: bool = True
    """6.6: ... and holds the alert exactly as it is now."""
    caught_up: bool = True
    """6.6: ... and the task has decided everything that has come."""
    answer_is_of_what_was_sent: bool = True
    """6.6: the answer to a resolve ends the alert only if that has not changed since."""
    resolve_waits_for_late_ones: bool = True
    """6.7: a resolve waits until an earlier request cannot land any more."""
    unknown_resolve_is_repeated: bool = True
    """6.7: a trigger that follows a resolve with an unknown answer is repeated."""
    repeat_waits: bool = True
    """6.7: ... once that resolve cannot land any more."""
    earlier_owner_may_have_sent: bool = True
    """6.7: what an earlier owner may have decided, it may have sent."""
    event_opens_resolving: bool = True
    """8: an event on a resolving alert triggers."""
    owed_goes_first: bool = True
    """8: a trigger that was never accepted goes before the resolve."""
    resolving_is_not_had: bool = True
    """8: the provider has an alert only if a trigger was accepted since it last was resolving."""
    worse_is_told: bool = True
    """8: what is worse than what was sent, and came while that was on the wire, is owed."""
    rejected_is_not_told: bool = True
    """8: after a rejected trigger that opened nothing, the next event triggers."""
    arrived_is_resolved: bool = True
    """8: an alert of which something may have arrived is not gone with a rejected trigger."""

    def without(self, rule: str) -> "Rules":
        return replace(self, **{rule: False})


RULES = tuple(each.name for each in fields(Rules))


@dataclass(frozen=True)
class World:
    """What can happen, and how often. ``late``: requests that may land late."""

    items: str
    crashes: int = 0
    timers: int = 0
    rejections: int = 0
    late: int = 0

    def __str__(self) -> str:
        given = {each.name: getattr(self, each.name) for each in fields(self)[1:]}
        return " ".join([self.items, *(f"{name}={value}" for name, value in given.items() if value)])


class Alert(NamedTuple):
    """What a task knows. ``counted`` and ``owed`` are items, ``told`` is the severity that the provider was told (0:
    none). ``sent``: something of it may have arrived."""

    resolving: bool
    counted: int
    owed: int
    repeat: bool
    told: int
    has: bool
    sent: bool
    unsettled: bool


A = TypeVar("A", bound=Alert | None)


class Memory(NamedTuple):
    """What a checkpoint holds; ``dead`` are the items in dead letters."""

    position: int
    alert: Alert | None
    dead: int


class Wire(NamedTuple):
    """A request: what it says (``trigger``, ``resolve``), of which items, of the alert as it was, and its answer."""

    kind: str
    items: int
    alert: Alert
    answer: str = ""


class State(NamedTuple):
    open: bool  # at the provider
    told: int  # items of accepted triggers
    reached: int  # those, and what was counted into something open
    now: Memory
    held: Memory
    wire: Wire | None
    late: Wire | None
    has_landed_late: bool
    inherited: int  # an earlier owner has decided nothing from this item on
    made: int
    crashes: int
    timers: int
    rejections: int
    late_ones: int


Step = tuple[str, State, str | None]
"""What happens, what there is then, and the promise that is broken by it."""


class Change(NamedTuple):
    """What an input makes of an alert; ``item`` is the event's, ``sent`` the alert as the request left."""

    kind: str
    before: Alert | None
    after: Alert | None
    item: int = -1
    sent: Alert | None = None
    dead: int = 0


@dataclass
class Found:
    states: int = 0
    broken: dict[str, list[str]] = field(default_factory=dict)
    changes: dict[Change, None] = field(default_factory=dict)
    """All that has happened to alerts, in an order in which each begins with one that was there before."""


class Model:
    """The steps that are possible in a state."""

    def __init__(self, rules: Rules, world: World, changes: dict[Change, None]) -> None:
        self.rules = rules
        self.world = world
        self.changes = changes

    def start(self) -> State:
        nothing, world = Memory(0, None, 0), self.world
        return State(
            False, 0, 0, nothing, nothing, None, None, False, 0, 0,
            world.crashes, world.timers, world.rejections, world.late,
        )  # fmt: skip

    def severity(self, items: int) -> int:
        return 2 if any(items >> i & 1 and item == "E" for i, item in enumerate(self.world.items)) else int(items > 0)

    def steps(self, s: State) -> Iterator[Step]:
        if s.made < len(self.world.items):
            yield f"{self.world.items[s.made]}{s.made} comes", s._replace(made=s.made + 1), None
        if s.now != s.held:
            yield from self.checkpoint(s)
        if s.crashes:
            yield from self.crash(s)
        if s.now.position < s.made:
            yield self.decide(s)
        elif s.timers and s.now.alert is not None and not s.now.alert.resolving:
            after = put(s._replace(timers=s.timers - 1), self.over(s.now.alert))
            yield "quiet", after, None
        if s.late is not None:
            yield from self.land(s, s.late)
        if s.wire is None:
            yield from self.send(s)
        elif not s.wire.answer:
            yield from self.take(s, s.wire)
        else:
            yield from self.answer(s, s.wire)

    # the task

    def checkpoint(self, s: State) -> Iterator[Step]:
        if self.rules.one_transaction:
            yield "checkpoint", s._replace(held=s.now), None
        else:
            yield "position written", s._replace(held=s.now._replace(alert=s.held.alert)), None
            yield "alert written", s._replace(held=s.held._replace(alert=s.now.alert)), None

    def crash(self, s: State) -> Iterator[Step]:
        after = s._replace(now=s.held, wire=None, inherited=s.made, crashes=s.crashes - 1)
        yield "crash", after, None
        if s.wire is not None and not s.wire.answer and s.late is None and s.late_ones:
            yield "crash, its request under way", after._replace(late=s.wire, late_ones=s.late_ones - 1), None

    def decide(self, s: State) -> Step:
        position, alert = s.now.position, s.now.alert
        item = self.world.items[position]
        s = s._replace(now=s.now._replace(position=position + 1))
        if item == "r":
            return f"decides r{position}", put(s, self.over(alert)) if alert is not None else s, None
        after = self.occurred(alert, position)
        if s.open and not after.owed >> position & 1:
            s = s._replace(reached=s.reached | 1 << position)
        return f"decides {item}{position}", put(s, after), None

    def occurred(self, alert: Alert | None, item: int) -> Alert:
        bit = 1 << item
        if alert is None:
            after = Alert(False, bit, bit, False, 0, False, False, False)
        elif alert.resolving and self.rules.event_opens_resolving:
            unsettled = alert.unsettled or (self.rules.unknown_resolve_is_repeated and not alert.owed and alert.sent)
            after = alert._replace(resolving=False, owed=alert.owed | bit, unsettled=unsettled)
        elif alert.owed and not alert.repeat:
            after = alert._replace(owed=alert.owed | bit)
        elif self.severity(bit) > alert.told and not alert.resolving:
            after = alert._replace(owed=bit, repeat=False, unsettled=alert.unsettled or alert.repeat)
        else:
            after = alert
        return self.change("occurred", alert, after._replace(counted=after.counted | bit), item=item)

    def over(self, alert: Alert) -> Alert | None:
        after: Alert | None = alert
        if not alert.resolving:
            owed = alert.owed if self.rules.owed_goes_first and not alert.repeat else 0
            has = alert.has and not self.rules.resolving_is_not_had
            after = alert._replace(resolving=True, owed=owed, repeat=False, has=has)
            if not owed and not alert.sent:
                after = None
        return self.change("over", alert, after)

    # delivery

    def send(self, s: State) -> Iterator[Step]:
        alert = s.now.alert
        if alert is None:
            return
        if alert.owed:
            if not (alert.repeat and s.late is not None and self.rules.repeat_waits):
                what = f"sends trigger {self.named(alert.owed)}{' again' if alert.repeat else ''}"
                yield what, s._replace(wire=Wire("trigger", alert.owed, alert)), None
        elif alert.resolving and self.may_resolve(s, alert):
            undecided = self.world.items[s.now.position : s.made].lower()
            broken = "resolved live" if "e" in undecided else None
            yield "sends resolve", s._replace(wire=Wire("resolve", 0, alert)), broken

    def may_resolve(self, s: State, alert: Alert) -> bool:
        rules, held = self.rules, s.held.alert
        if rules.caught_up and s.now.position < s.made:
            return False
        if rules.resolve_waits_for_late_ones and s.late is not None:
            return False
        if not rules.intent_is_committed:
            return True
        return held == alert if rules.intent_is_exact else held is not None and held.resolving

    def take(self, s: State, wire: Wire) -> Iterator[Step]:
        """The provider's side of a request, or nothing of it in time."""
        yield self.taken(s, wire)
        if wire.kind == "trigger" and s.rejections and wire.items & ~s.told:  # what was taken once is not rejected
            rejected = s._replace(wire=wire._replace(answer="rejected"), rejections=s.rejections - 1)
            yield f"the provider rejects trigger {self.named(wire.items)}", rejected, None
        if s.late_ones and s.late is None:
            after = s._replace(wire=None, late=wire, late_ones=s.late_ones - 1)
            if wire.kind == "trigger" and s.now.alert is not None:
                attempted = s.now.alert._replace(sent=True)
                after = put(after, self.change("attempted", s.now.alert, attempted, sent=wire.alert))
            yield f"{wire.kind} times out", after, None

    def taken(self, s: State, wire: Wire) -> Step:
        answered = wire._replace(answer="accepted")
        if wire.kind == "resolve":
            return "the provider resolves", s._replace(open=False, wire=answered), None
        is_again = not s.open and not wire.items & ~s.told and not s.has_landed_late
        after = self.opened(s, wire)._replace(wire=answered)
        return f"the provider takes {self.named(wire.items)}", after, "opened twice" if is_again else None

    @staticmethod
    def opened(s: State, wire: Wire) -> State:
        told = s.told | wire.items
        return s._replace(open=True, told=told, reached=s.reached | told | wire.alert.counted)

    def land(self, s: State, late: Wire) -> Iterator[Step]:
        gone = s._replace(late=None)
        yield f"the late {late.kind} is lost", gone, None
        if late.kind == "trigger":
            changes = not s.open
            after = self.opened(gone, late)
        else:
            changes, after = s.open, gone._replace(open=False)
        yield f"the late {late.kind} lands", after._replace(has_landed_late=s.has_landed_late or changes), None

    def answer(self, s: State, wire: Wire) -> Iterator[Step]:
        alert, s = s.now.alert, s._replace(wire=None)
        if alert is None:  # it has ended meanwhile
            yield f"answer to {wire.kind}", s, None
        elif wire.kind == "resolve":
            yield "answer to resolve", put(s, self.resolved(alert, wire.alert)), None
        elif wire.answer == "accepted":
            after = self.accepted(alert, wire)
            if s.open and not (after.owed and not after.repeat):
                s = s._replace(reached=s.reached | after.counted)
            yield "answer to trigger", put(s, after), None
        else:
            after_or_none, dead = self.rejected(alert, wire, s.inherited)
            memory = s.now._replace(alert=after_or_none, dead=s.now.dead | dead)
            yield f"dead letter {self.named(dead)}", s._replace(now=memory), None

    def left(self, alert: Alert, wire: Wire) -> int:
        """What is owed apart from what was sent: what is worse, and came while that was on the wire."""
        is_worse = self.rules.worse_is_told and self.severity(alert.owed) > self.severity(wire.items)
        return alert.owed & ~wire.items if is_worse else 0

    def accepted(self, alert: Alert, wire: Wire) -> Alert:
        severity = self.severity(wire.items)
        told = max(alert.told, severity) if alert.has else severity
        left, repeat, unsettled = self.left(alert, wire), False, alert.unsettled
        if not left and unsettled and not alert.resolving:
            left, repeat, unsettled = wire.items, True, False
        after = alert._replace(
            owed=left, repeat=repeat, told=told, has=not alert.resolving, sent=True, unsettled=unsettled
        )
        return self.change("accepted", alert, after, sent=wire.alert)

    def rejected(self, alert: Alert, wire: Wire, inherited: int) -> tuple[Alert | None, int]:
        rules, left = self.rules, self.left(alert, wire)
        by_an_earlier_owner = rules.earlier_owner_may_have_sent and lowest(wire.items) < inherited
        assumed = alert._replace(sent=alert.sent or by_an_earlier_owner)
        dead = wire.items if left else alert.owed | wire.items
        after: Alert | None
        if left or (alert.has and not alert.unsettled):
            told = max(alert.told, self.severity(wire.items)) if alert.has and alert.told else alert.told
            after = assumed._replace(owed=left, told=told)
        elif assumed.sent and rules.arrived_is_resolved:
            after = assumed._replace(owed=0, told=0, has=False)
        elif not rules.rejected_is_not_told:
            after = assumed._replace(owed=0, told=self.severity(wire.items))
        else:
            after = None
        if after is not None and not rules.rejected_is_not_told:
            after = after._replace(told=max(after.told, self.severity(wire.items)))
        return self.change("rejected", assumed, after, sent=wire.alert, dead=dead), dead

    def resolved(self, alert: Alert, sent: Alert) -> Alert | None:
        is_as_sent = alert == sent if self.rules.answer_is_of_what_was_sent else alert.resolving
        return self.change("resolved", alert, None if is_as_sent else alert._replace(unsettled=False), sent=sent)

    def change(
        self, kind: str, before: Alert | None, after: A, *, item: int = -1, sent: Alert | None = None, dead: int = 0
    ) -> A:
        self.changes.setdefault(Change(kind, before, after, item, sent, dead))
        return after

    def named(self, items: int) -> str:
        return " ".join(f"{item}{i}" for i, item in enumerate(self.world.items) if items >> i & 1)

    # rest

    def at_rest(self, s: State) -> str | None:
        """Everything is decided, told and committed: which promise is broken."""
        alert = s.now.alert
        if s.made < len(self.world.items) or s.now.position < s.made or s.wire is not None or s.late is not None:
            return None
        if s.now != s.held or (alert is not None and (alert.owed or alert.resolving)):
            return None
        events = sum(1 << i for i, item in enumerate(self.world.items) if item != "r")
        worse = sum(1 << i for i, item in enumerate(self.world.items) if item == "E")
        if events & ~s.reached & ~s.now.dead:
            return "lost"
        if worse and not worse & (s.told | s.now.dead):
            return "played down"
        if alert is not None and alert.has and not s.open:
            return "open here only"
        return "orphan" if alert is None and s.open else None


def explore(rules: Rules, world: World, *, only_first: bool = False) -> Found:
    """Every state, breadth first; the shortest way to each broken promise, or to any of them (``only_first``)."""
    found = Found()
    model = Model(rules, world, found.changes)
    start = model.start()
    parent: dict[State, tuple[State, str] | None] = {start: None}
    queue = [start]

    def note(broken: str, s: State, last: str) -> None:
        if broken in found.broken:
            return
        labels = [last]
        while (link := parent[s]) is not None:
            s, label = link
            labels.append(label)
        found.broken[broken] = labels[::-1]

    for s in queue:
        if (broken := model.at_rest(s)) is not None:
            note(broken, s, "rest")
        for label, after, broken in model.steps(s):
            if broken is not None:
                note(broken, s, label)
            elif after not in parent:
                parent[after] = (s, label)
                queue.append(after)
        if found.broken and only_first:
            break
    found.states = len(queue)
    return found


def put(s: State, alert: Alert | None) -> State:
    return s._replace(now=s.now._replace(alert=alert))


def lowest(items: int) -> int:
    return (items & -items).bit_length() - 1
