"""An exhaustive model of one alert (design sections 5, 6, 8 and 22): one dedup key, one task, one provider.

The items of a run are produced in order: ``e`` is an alertable event, ``E`` one of a higher severity, ``r`` says that
the threat is over. ``m`` is an event that is silenced; ``u`` is the end of all silences so far, at which the problem is
live, and ``x`` one at which it is over. The task decides them in order, delivers apart from deciding, takes a
checkpoint at any moment, and dies at any moment; quiet may end an alert when the task is caught up. One request at a
time is on the wire: that the provider takes or rejects it, and that the task hears of it, are two moments, and between
them everything else can happen. A request that times out, or is a dead owner's, can land later or never.

`explore` finds every state within small bounds, and the shortest way to each broken promise:

* ``opened twice``: an occurrence that was told opens another incident, although no request landed late;
* ``resolved live``: a resolve leaves although an event has come that is not decided yet;
* ``lost``: an occurrence was never told, nor counted into an open incident, nor into a dead letter;
* ``played down``: none of the higher severity was told, nor is one in a dead letter;
* ``not silent``: a trigger leaves that tells of silenced events only, by an owner that knew of the silence;
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
    silenced_is_not_owed: bool = True
    """22: a silenced event tells nobody."""
    silenced_is_held: bool = True
    """22: ... and is not forgotten."""
    live_is_told: bool = True
    """22: what is live at the end of its silences is owed."""
    resolved_is_silenced: bool = True
    """22: an alert that was resolving is silenced after the answer."""
    silenced_may_be_told: bool = True
    """22: the end of a silenced alert that an earlier owner may have told sends a resolve."""

    def without(self, rule: str) -> "Rules":
        return replace(self, **{rule: False})


RULES = tuple(each.name for each in fields(Rules))


@dataclass(frozen=True)
class World:
    """What can happen, and how often. ``late``: requests that may land late. ``unread``: silenced events whose silence
    an owner has not read yet."""

    items: str
    crashes: int = 0
    timers: int = 0
    rejections: int = 0
    late: int = 0
    unread: int = 0

    def __str__(self) -> str:
        given = {each.name: getattr(self, each.name) for each in fields(self)[1:]}
        return " ".join([self.items, *(f"{name}={value}" for name, value in given.items() if value)])


class Alert(NamedTuple):
    """What a task knows. ``counted`` and ``owed`` are items, ``told`` is the severity that the provider was told (0:
    none). ``sent``: something of it may have arrived. ``held`` are silenced items since the last that was told; while
    it is resolving, ``counted`` is without them."""

    resolving: bool
    counted: int
    owed: int
    repeat: bool
    told: int
    has: bool
    sent: bool
    unsettled: bool
    held: int = 0

    @property
    def is_silenced(self) -> bool:
        return bool(self.held) and not (self.owed or self.has or self.resolving)

    def with_held_over(self) -> "Alert":
        """What is held is over: it counts into the trigger that is owed; if none is, it is gone."""
        if self.owed and not self.repeat:
            return self._replace(counted=self.counted | self.held, owed=self.owed | self.held, held=0)
        return self._replace(held=0)


A = TypeVar("A", bound=Alert | None)


class Memory(NamedTuple):
    """What a checkpoint holds; ``dead`` are the items in dead letters, ``ended`` silenced ones that were over."""

    position: int
    alert: Alert | None
    dead: int
    ended: int


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
    unread: int
    unknown: int  # silenced items that were decided by an owner that did not know it


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
        nothing, world = Memory(0, None, 0, 0), self.world
        return State(
            False, 0, 0, nothing, nothing, None, None, False, 0, 0,
            world.crashes, world.timers, world.rejections, world.late, world.unread, 0,
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
            if self.world.items[s.now.position] == "m" and s.unread:
                yield self.decide(s, is_known=False)
        elif s.timers and s.now.alert is not None and not s.now.alert.resolving:
            yield "quiet", self.ended(s._replace(timers=s.timers - 1), s.now.alert), None
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

    def decide(self, s: State, *, is_known: bool = True) -> Step:
        position, alert = s.now.position, s.now.alert
        item = self.world.items[position]
        s = s._replace(now=s.now._replace(position=position + 1))
        what = f"decides {item}{position}{'' if is_known else ', and does not know that it is silenced'}"
        if item == "r":
            return what, self.ended(s, alert) if alert is not None else s, None
        if item in "ux":
            is_over = item == "x"
            return what, self.silence_ends(s, alert, is_over=is_over) if alert is not None else s, None
        after: Alert | None
        if item == "m" and is_known and self.rules.silenced_is_not_owed:
            after = self.silenced(alert, position)
            is_suppressed = after is not None and after.has and not after.owed >> position & 1
        else:
            after = self.occurred(alert, position)
            is_suppressed = not after.owed >> position & 1
        if not is_known:
            s = s._replace(unread=s.unread - 1, unknown=s.unknown | 1 << position)
        if s.open and is_suppressed:
            s = s._replace(reached=s.reached | 1 << position)
        return what, put(s, after), None

    def silenced(self, alert: Alert | None, item: int) -> Alert | None:
        bit = 1 << item
        if not self.rules.silenced_is_held:
            return alert
        if alert is None:
            after = Alert(False, bit, 0, False, 0, False, False, False, bit)
        elif alert.resolving:
            after = alert._replace(held=alert.held | bit)
        elif alert.owed and not alert.repeat:
            after = alert._replace(owed=alert.owed | bit, counted=alert.counted | bit)
        else:
            after = alert._replace(held=alert.held | bit, counted=alert.counted | bit)
        return self.change("silenced", alert, after, item=item)

    def silence_ends(self, s: State, alert: Alert, *, is_over: bool) -> State:
        if not alert.held or alert.has:
            return s
        if is_over and alert.is_silenced:
            return self.ended(s, alert, "gone")
        if is_over or not self.rules.live_is_told:
            after = self.change("gone", alert, alert.with_held_over())
            return put(s._replace(now=s.now._replace(ended=s.now.ended | (alert.held if is_over else 0))), after)
        unsettled = alert.unsettled or (alert.resolving and not alert.owed and alert.sent)
        after = alert._replace(
            resolving=False,
            counted=alert.counted | alert.held,
            owed=alert.owed | alert.held,
            held=0,
            unsettled=unsettled,
        )
        return put(s, self.change("live", alert, after))

    def ended(self, s: State, alert: Alert, kind: str = "over") -> State:
        """The alert is over, and what is silenced of it."""
        by_an_earlier_owner = bool(alert.held) and lowest(alert.held) < s.inherited
        if alert.is_silenced and by_an_earlier_owner and self.rules.silenced_may_be_told:
            alert = alert._replace(sent=True)
        return put(s._replace(now=s.now._replace(ended=s.now.ended | alert.held)), self.over(alert, kind))

    def occurred(self, alert: Alert | None, item: int) -> Alert:
        bit, before = 1 << item, alert
        untold = 0 if alert is None or alert.has else alert.held
        if alert is not None:
            alert = alert._replace(counted=alert.counted | alert.held, held=0)
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
        told = after._replace(counted=after.counted | bit, owed=after.owed | untold)
        return self.change("occurred", before, told, item=item)

    def over(self, alert: Alert, kind: str = "over") -> Alert | None:
        after: Alert | None = alert.with_held_over()
        if not alert.resolving:
            owed = alert.owed if self.rules.owed_goes_first and not alert.repeat else 0
            has = alert.has and not self.rules.resolving_is_not_had
            after = alert._replace(resolving=True, owed=owed, repeat=False, has=has, held=0)
            if not owed and not alert.sent:
                after = None
        return self.change(kind, alert, after)

    # delivery

    def send(self, s: State) -> Iterator[Step]:
        alert = s.now.alert
        if alert is None:
            return
        if alert.owed:
            if not (alert.repeat and s.late is not None and self.rules.repeat_waits):
                what = f"sends trigger {self.named(alert.owed)}{' again' if alert.repeat else ''}"
                broken = None if alert.owed & ~self.silent(s) else "not silent"
                yield what, s._replace(wire=Wire("trigger", alert.owed, alert)), broken
        elif alert.resolving and self.may_resolve(s, alert):
            undecided = self.world.items[s.now.position : s.made].lower()  # what is silenced keeps nothing open
            broken = "resolved live" if "e" in undecided else None
            yield "sends resolve", s._replace(wire=Wire("resolve", 0, alert)), broken

    def silent(self, s: State) -> int:
        """The items that are silenced still, by silences of which the owner knew that decided them."""
        last_end = max(self.world.items.rfind(end, 0, s.now.position) for end in "ux")
        return sum(1 << i for i, item in enumerate(self.world.items) if item == "m" and i > last_end) & ~s.unknown

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
            owed=left, repeat=repeat, told=told, has=not alert.resolving, sent=True, unsettled=unsettled,
            held=alert.held if alert.resolving else 0,
        )  # fmt: skip
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
            after = self.left_silenced(alert)
        if after is not None and not rules.rejected_is_not_told:
            after = after._replace(told=max(after.told, self.severity(wire.items)))
        return self.change("rejected", assumed, after, sent=wire.alert, dead=dead), dead

    def resolved(self, alert: Alert, sent: Alert) -> Alert | None:
        is_as_sent = alert._replace(held=sent.held) == sent
        if not self.rules.answer_is_of_what_was_sent:
            is_as_sent = alert.resolving
        after = self.left_silenced(alert) if is_as_sent else alert._replace(unsettled=False)
        return self.change("resolved", alert, after, sent=sent)

    def left_silenced(self, alert: Alert) -> Alert | None:
        """What is left of an alert whose incident has ended."""
        if not alert.held or not self.rules.resolved_is_silenced:
            return None
        return Alert(False, alert.held, 0, False, 0, False, False, False, alert.held)

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
        events = sum(1 << i for i, item in enumerate(self.world.items) if item in "eEm")
        worse = sum(1 << i for i, item in enumerate(self.world.items) if item == "E")
        held = alert.held if alert is not None else 0
        if events & ~s.reached & ~s.now.dead & ~s.now.ended & ~held:
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
