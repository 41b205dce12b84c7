"""An exhaustive model of the home protocol (design section 17, "Homes move"): who speaks for a key while its home
moves.

One dedup key, a few partitions, one task for each. The items of one run (``e``: an alertable event, ``r``: the threat
is over) are produced in order, each to any partition that exists: before the topic grows that is the old home,
afterwards also the old one (a late producer) or one that the home is not thought to be in (a partitioner that was
guessed wrongly). Growth, deciding, checkpoints, crashes, what is on the wire, and the feedback topic's records happen
in every order.

`explore` finds every state that can be reached within small bounds, and the shortest way to each broken promise:

* ``resolved live``: an alert was ended although something that occurred later, or that is still to be decided, is not
over;
* ``opened twice``: an occurrence that was told, and of which nothing has been resolved wrongly, opens another incident;
* ``lost``: an occurrence was never told, nor counted into an incident that was open;
* ``open here only``, ``orphan``, ``owed for ever``, ``not ended``, ``two alerts``: what is left when everything has
come to rest.

Sets of items are bit masks; an item's number is its event time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from random import Random
from typing import NamedTuple


@dataclass(frozen=True)
class Rules:
    """The protocol; each rule can be left out, to see what it is for."""

    fresh_count: bool = True
    """1: nothing is quiet unless the count of partitions was asked for lately."""
    highest_count: bool = True
    """1: a count that was seen once is never gone back on, whatever a broker says."""
    learn_from_marks: bool = True
    """1: a mark of a higher count is believed at once."""
    only_home_speaks: bool = True
    """2: a task sends nothing for a key whose home is elsewhere."""
    to_the_end_first: bool = True
    """2: it decides its input to the end found when it was built, then hands over."""
    move_waits_for_answer: bool = True
    """2: nothing is handed over while a request about it is on the wire."""
    one_transaction: bool = True
    """2: tombstone, hand-over and mark are committed together."""
    forward: bool = True
    """3: what comes for a key whose home is elsewhere goes to the home."""
    end_knows_its_time: bool = True
    """3: an end ends nothing that occurred after it."""
    trigger_waits_for_mark: bool = True
    """4: the first trigger waits for the marks of the key's old homes."""
    speaks_anyway: bool = True
    """4: ... but not for ever."""
    early_is_repeated: bool = True
    """4: a trigger that did not wait is repeated behind the mark."""
    resolve_waits_for_marks: bool = True
    """5: the home's resolve waits for the marks of all partitions."""
    quiet_waits_for_marks: bool = True
    """5: so does its quiet."""
    passed_on_first: bool = True
    """5: and both wait for what was sent to a partition that is no home any more, until that has passed it on."""
    quiet_waits_for_all: bool = True
    """5: quiet waits until what all partitions hold now has been decided, and taken by the home."""
    resolving_is_unsettled: bool = True
    """6: of a handed-over alert that is resolving, the resolve may be under way."""
    owed_adds_up: bool = True
    """6: what either of two joined alerts owes is owed."""
    ends_are_remembered: bool = True
    """7 (and 6): an end, or a command, that finds nothing ends what comes from before it."""
    ends_go_along: bool = True
    """7: what a task remembers of ends is handed over as well."""
    resolve_waits_for_late_ones: bool = True
    """(design section 6.7) a resolve waits until one of a dead owner cannot arrive any more."""

    def without(self, rule: str) -> "Rules":
        return replace(self, **{rule: False})


RULES = tuple(each.name for each in fields(Rules))


@dataclass(frozen=True)
class World:
    """What can happen, and how often.

    ``homes`` are the key's homes, one for each time that the topic has grown; ``counts`` how many partitions there
    were.
    """

    items: str
    homes: tuple[int, ...] = (0, 1)
    counts: tuple[int, ...] = (1, 2)
    crashes: int = 0
    early: int = 0
    timers: int = 0
    stale: int = 0
    commands: int = 0
    parts: int = 0
    """What is handed over is more than one checkpoint can hold: the alert goes in one before that of the mark, and from
    then on what comes for it is forwarded, until the task dies."""
    decides_on: bool = False
    """A task decides what comes behind the end that it has to decide up to before it moves, if it has not moved yet."""
    old_home_is_down: bool = False
    """From the growth on, before which nothing comes, and for ever. A trigger that waits leaves sooner or later."""
    limit: int = 3_000_000

    def __str__(self) -> str:
        given = {each.name: getattr(self, each.name) for each in fields(self)[1:]}
        told = [f"{name}={value}" for name, value in given.items() if value != getattr(World, name)]
        return " ".join([self.items, *told])


class Alert(NamedTuple):
    """What a task knows of the key. ``repeat``: its trigger is to be said once more; ``unsettled``: it will be."""

    resolving: bool
    owed: int
    counted: int
    sent: bool
    unsettled: bool
    repeat: bool

    @property
    def last(self) -> int:
        return self.counted.bit_length() - 1


class Feedback(NamedTuple):
    """A record of the feedback topic: ``hand`` (an alert and the latest end), ``item`` (forwarded), ``mark``,
    ``command``."""

    kind: str
    sender: int
    count: int  # type: ignore[assignment]  # a tuple's own, which nobody calls
    alert: Alert | None = None
    item: int = -1
    is_passed_on: bool = False


class Memory(NamedTuple):
    """What a checkpoint holds: to which count the task has moved, the alert, the latest end, the marks that were taken
    (a count for each partition)."""

    moved: int
    alert: Alert | None
    end: int
    marks: tuple[int, ...]


class Task(NamedTuple):
    """``log`` and ``inbox`` are what lies behind the checkpoint, of which ``decided`` and ``taken`` have been; ``out``
    is what the next checkpoint writes to the feedback topic. ``count`` is the count of partitions as the task knows it
    (0: it was never built), ``until`` how much of its log it decides before it moves to that; ``is_leaving``: it has
    begun to hand over."""

    log: tuple[int, ...]
    inbox: tuple[Feedback, ...]
    held: Memory
    now: Memory
    decided: int
    taken: int
    out: tuple[tuple[int, Feedback], ...]
    count: int  # type: ignore[assignment]  # as above
    until: int
    wire: tuple[str, int, Alert] | None
    is_leaving: bool = False


class State(NamedTuple):
    tasks: tuple[Task, ...]
    made: int
    grown: int
    late_resolve: bool  # of a dead owner, still under way
    open: bool  # at the provider
    told: int  # or counted into something open
    over: int  # whose threat is over
    crashes: int
    early: int
    timers: int
    stale: int
    commands: int
    parts: int = 0


Step = tuple[str, State, str | None]
"""What happens, what there is then, and the promise that is broken by it."""


@dataclass
class Found:
    states: int = 0
    broken: dict[str, list[str]] = field(default_factory=dict)
    is_complete: bool = True


class Model:
    """The steps that are possible in a state."""

    def __init__(self, rules: Rules, world: World) -> None:
        self.rules = rules
        self.world = world
        self.events = sum(1 << i for i, item in enumerate(world.items) if item == "e")
        self.checks_closing = not world.crashes and not world.early and not world.stale

    def start(self) -> State:
        world = self.world
        partitions = world.counts[-1]
        new = Memory(0, None, -1, (0,) * partitions)
        old = new._replace(moved=1)
        tasks = tuple(
            Task((), (), old, old, 0, 0, (), 1, 0, None)
            if p < world.counts[0]
            else Task((), (), new, new, 0, 0, (), 0, 0, None)
            for p in range(partitions)
        )
        budget = world.crashes, world.early, world.timers, world.stale, world.commands, world.parts
        return State(tasks, 0, 1, False, False, 0, 0, *budget)

    # what is asked of the rules

    def home(self, count: int) -> int:
        return self.world.homes[count - 1]

    def has_marks(self, p: int, task: Task, *, of_all: bool) -> bool:
        """Whether the marks have been taken of the key's old homes, or of all partitions."""
        marks, count = task.now.marks, task.count
        others = range(self.world.counts[count - 1]) if of_all else self.world.homes[: count - 1]
        return all(marks[q] >= count for q in others if q != p)

    def is_quiet(self, s: State, p: int, task: Task) -> bool:
        """Whether the task is quiescent."""
        rules = self.rules
        if task.decided < len(task.log) or (rules.only_home_speaks and self.home(task.count) != p):
            return False
        if rules.fresh_count and task.count < s.grown:
            return False
        if rules.quiet_waits_for_marks and not self.has_marks(p, task, of_all=True):
            return False
        if not self.is_all_passed_on(s, p, task):
            return False
        if rules.quiet_waits_for_all:
            return task.taken == len(task.inbox) and not any(other.log for q, other in enumerate(s.tasks) if q != p)
        return True

    def is_all_passed_on(self, s: State, p: int, task: Task) -> bool:
        """Whether nothing is on its way here by a partition that was the key's home between two growths."""
        if not self.rules.passed_on_first:
            return True
        if any(record.is_passed_on for record in task.inbox[task.taken :]):
            return False
        return not any(record.kind in ("hand", "item") for q, t in enumerate(s.tasks) if q != p for record in t.inbox)

    def is_down(self, s: State, p: int) -> bool:
        return self.world.old_home_is_down and p == self.world.homes[0]

    # the steps

    def outside(self, s: State) -> Iterator[Step]:
        """What need not happen."""
        world = self.world
        if s.made < len(world.items):
            for p in range(world.counts[s.grown - 1]):
                if self.is_down(s, p):
                    continue
                task = s.tasks[p]
                after = put(s, p, task._replace(log=(*task.log, s.made)))
                yield f"{world.items[s.made]}{s.made} comes to {p}", after._replace(made=s.made + 1), None
        if s.grown < len(world.counts):
            yield f"the topic grows to {world.counts[s.grown]}", s._replace(grown=s.grown + 1), None
        if s.commands:
            said = Feedback("command", -1, 0, item=s.made)
            tasks = tuple(task._replace(inbox=(*task.inbox, said)) for task in s.tasks)
            yield "an operator resolves", s._replace(tasks=tasks, commands=s.commands - 1), None
        for p, task in enumerate(s.tasks):
            if not task.count or self.is_down(s, p):
                continue
            if s.crashes:
                yield from self.build(s._replace(crashes=s.crashes - 1), p, "crashes", s.grown)
            if s.stale and s.grown > 1:
                yield from self.build(s._replace(stale=s.stale - 1), p, "is built on an old count", s.grown - 1)
            alert = task.now.alert
            if alert is None:
                continue
            if s.parts and self.home(task.count) != p and self.may_move(task):
                yield f"{p} hands over a part", self.hand_over(s._replace(parts=s.parts - 1), p, task), None
            if s.early and self.may_trigger(s, p, task, alert, early=True):
                yield self.trigger(s._replace(early=s.early - 1), p, alert, early=True)
            if s.timers and not alert.resolving and not alert.owed and self.is_quiet(s, p, task):
                made = self.events & ((1 << s.made) - 1)
                broken = "resolved live" if made & ~s.over & ~alert.counted else None
                after = self.put_alert(s, p, task, alert._replace(resolving=True, repeat=False))
                yield f"{p}: quiet", after._replace(timers=s.timers - 1, over=s.over | alert.counted), broken

    def progress(self, s: State) -> Iterator[Step]:
        """What happens sooner or later."""
        if s.late_resolve:
            yield "the late resolve arrives", s._replace(late_resolve=False, open=False), None
            yield "the late resolve is lost", s._replace(late_resolve=False), None
        for p, task in enumerate(s.tasks):
            if self.is_down(s, p):
                continue
            if task.count < s.grown and p < self.world.counts[s.grown - 1]:
                yield from self.build(s, p, "is built", s.grown)
            if not task.count:
                continue
            if task.decided or task.taken or task.out or task.now != task.held:
                yield self.checkpoint(s, p)
            if self.may_decide(p, task):
                yield self.decide_next(s, p, task)
            if self.may_move(task):
                yield f"{p} moves to {task.count}", self.move(s, p, task), None
            if task.taken < len(task.inbox):
                yield self.take(s, p, task)
            if task.wire is not None:
                yield self.answer(s, p, task)
            elif (alert := task.now.alert) is not None:
                if self.may_trigger(s, p, task, alert, early=False):
                    yield self.trigger(s, p, alert)
                elif self.world.old_home_is_down and self.may_trigger(s, p, task, alert, early=True):
                    yield self.trigger(s, p, alert, early=True)
                elif self.may_resolve(s, p, task, alert):
                    yield f"{p} sends resolve", put(s, p, task._replace(wire=("resolve", 0, alert))), None

    # own

    def may_decide(self, p: int, task: Task) -> bool:
        if task.decided == len(task.log):
            return False
        if self.world.decides_on or task.is_leaving:
            return True
        return task.now.moved == task.count or task.decided < task.until or self.home(task.count) == p

    def may_move(self, task: Task) -> bool:
        if task.now.moved == task.count or (self.rules.to_the_end_first and task.decided < task.until):
            return False
        return task.wire is None or not self.rules.move_waits_for_answer

    def build(self, s: State, p: int, label: str, count: int) -> Iterator[Step]:
        """The task is over, and built again from its checkpoint."""
        task = s.tasks[p]
        if self.rules.highest_count:
            count = max(count, task.held.moved, *task.held.marks)
        count = max(count, next(c for c, n in enumerate(self.world.counts, 1) if n > p))
        until = len(task.log) if task.held.moved < count else 0
        after = put(s, p, Task(task.log, task.inbox, task.held, task.held, 0, 0, (), count, until, None))
        yield f"{p} {label}", after, None
        if task.wire is None:
            return
        kind, owed, sent = task.wire
        if kind == "trigger":
            arrived, broken = self.accept_trigger(after, owed, sent)
            yield f"{p} {label}, its trigger accepted", arrived, broken
        else:
            arrived, broken = self.accept_resolve(after)
            yield f"{p} {label}, its resolve accepted", arrived, broken
            yield f"{p} {label}, its resolve under way", after._replace(late_resolve=True), None

    def checkpoint(self, s: State, p: int) -> Step:
        task = s.tasks[p]
        tasks = list(s.tasks)
        for to, record in task.out:
            for q in range(len(tasks)) if to < 0 else (to,):
                if q != p:
                    tasks[q] = tasks[q]._replace(inbox=(*tasks[q].inbox, record))
        if task.out and not self.rules.one_transaction:
            # What is handed over is there, and a crash before the state is written has the alert here as well.
            tasks[p] = task._replace(out=())
            return f"{p}: hand-over written", s._replace(tasks=tuple(tasks)), None
        tasks[p] = Task(
            task.log[task.decided :],
            task.inbox[task.taken :],
            task.now,
            task.now,
            0,
            0,
            (),
            task.count,
            max(0, task.until - task.decided),
            task.wire,
            task.is_leaving,
        )
        return f"{p}: checkpoint", s._replace(tasks=tuple(tasks)), None

    def hand_over(self, s: State, p: int, task: Task) -> State:
        """The alert goes before the mark."""
        record = Feedback("hand", p, task.count, task.now.alert)
        out = (*task.out, (self.home(task.count), record))
        return put(s, p, task._replace(now=task.now._replace(alert=None), out=out, is_leaving=True))

    def move(self, s: State, p: int, task: Task) -> State:
        home, out, now = self.home(task.count), task.out, task.now
        alert, end = now.alert, now.end
        if home != p:
            if alert is not None or (end >= 0 and self.rules.ends_go_along):
                out = (*out, (home, Feedback("hand", p, task.count, alert, end if self.rules.ends_go_along else -1)))
            alert, end = None, -1
        out = (*out, (-1, Feedback("mark", p, task.count)))
        moved = Memory(task.count, alert, end, now.marks)
        return put(s, p, task._replace(now=moved, out=out, until=0, is_leaving=False))

    # decide

    def decide_next(self, s: State, p: int, task: Task) -> Step:
        item = task.log[task.decided]
        task = task._replace(decided=task.decided + 1)
        after, broken = self.decide(s, p, task, item)
        return f"{p} decides {self.world.items[item]}{item}", after, broken

    def decide(
        self, s: State, p: int, task: Task, item: int, *, is_passed_on: bool = False
    ) -> tuple[State, str | None]:
        home = self.home(task.count)
        if home != p and (task.now.moved == task.count or task.is_leaving) and self.rules.forward:
            forwarded = Feedback("item", p, task.count, None, item, is_passed_on)
            return put(s, p, task._replace(out=(*task.out, (home, forwarded)))), None
        if self.world.items[item] == "e":
            return self.occurred(s, p, task, item), None
        return self.ended(s, p, task, item)

    def occurred(self, s: State, p: int, task: Task, item: int) -> State:
        bit, alert = 1 << item, task.now.alert
        is_over = item < task.now.end and self.rules.ends_are_remembered
        if is_over:
            s = s._replace(over=s.over | bit)
        if alert is None:
            alert = Alert(is_over, bit, bit, False, False, False)
        elif alert.resolving:
            unsettled = alert.unsettled or (not is_over and not alert.owed)
            alert = alert._replace(
                resolving=is_over, owed=alert.owed | bit, counted=alert.counted | bit, unsettled=unsettled
            )
        elif alert.owed:
            alert = alert._replace(owed=alert.owed | bit, counted=alert.counted | bit)
        else:
            alert = alert._replace(counted=alert.counted | bit)
            if s.open:
                s = s._replace(told=s.told | bit)
        return self.put_alert(s, p, task, alert)

    def ended(self, s: State, p: int, task: Task, item: int) -> tuple[State, str | None]:
        alert, broken = task.now.alert, None
        if alert is not None and not alert.resolving and not (alert.last > item and self.rules.end_knows_its_time):
            broken = "resolved live" if alert.last > item else None
            s = s._replace(over=s.over | alert.counted)
            alert = alert._replace(resolving=True, repeat=False)
        end = max(task.now.end, item) if self.rules.ends_are_remembered else -1
        return put(s, p, task._replace(now=task.now._replace(alert=alert, end=end))), broken

    # take feedback

    def take(self, s: State, p: int, task: Task) -> Step:
        found = task.inbox[task.taken]
        task = task._replace(taken=task.taken + 1)
        label = f"{p} takes {found.kind} of {found.sender}"
        if found.kind == "mark":
            marks = list(task.now.marks)
            marks[found.sender] = max(marks[found.sender], found.count)
            task = task._replace(now=task.now._replace(marks=tuple(marks)))
            if self.rules.learn_from_marks and found.count > task.count:
                task = task._replace(count=found.count, until=len(task.log), is_leaving=False)
            return label, put(s, p, task), None
        if found.kind == "item":
            after, broken = self.decide(s, p, task, found.item, is_passed_on=True)
            return label, after, broken
        if found.kind == "hand":
            home = self.home(task.count)
            if home != p and (task.now.moved == task.count or task.is_leaving):
                passed_on = (home, found._replace(sender=p, count=task.count, is_passed_on=True))
                return label, put(s, p, task._replace(out=(*task.out, passed_on))), None
            return label, self.joined(s, p, task, found.alert, found.item), None
        alert = task.now.alert
        if alert is not None and alert.last < found.item:
            after, broken = self.ended(s, p, task, found.item)
            return label, after, broken
        if self.rules.ends_are_remembered:
            task = task._replace(now=task.now._replace(end=max(task.now.end, found.item)))
        return label, put(s, p, task), None

    def joined(self, s: State, p: int, task: Task, handed: Alert | None, handed_end: int) -> State:
        rules, own = self.rules, task.now.alert
        end = max(task.now.end, handed_end) if rules.ends_are_remembered else -1
        if own is None or handed is None:
            after = own or handed
        else:
            unsettled = own.unsettled or handed.unsettled
            if handed.resolving and rules.resolving_is_unsettled:
                unsettled = True
            # What is over is so with all that occurred before; what occurred later is live.
            resolving = (own if own.last > handed.last else handed).resolving
            after = Alert(
                resolving,
                own.owed | handed.owed if rules.owed_adds_up else own.owed,
                own.counted | handed.counted,
                own.sent or handed.sent,
                unsettled,
                (own.repeat or handed.repeat) and not resolving,
            )
        if after is not None and (after.resolving or after.last < end):
            s = s._replace(over=s.over | after.counted)
            after = after._replace(resolving=True, repeat=False)
        return put(s, p, task._replace(now=task.now._replace(alert=after, end=end)))

    # deliver

    def may_trigger(self, s: State, p: int, task: Task, alert: Alert, *, early: bool) -> bool:
        rules = self.rules
        if task.wire is not None or not (alert.owed or alert.repeat):
            return False
        if rules.only_home_speaks and self.home(task.count) != p:
            return False
        has_marks = self.has_marks(p, task, of_all=False)
        if not alert.owed:
            return has_marks and not s.late_resolve and not early
        if early:
            waits = not has_marks and not alert.sent and rules.trigger_waits_for_mark
            return waits and rules.speaks_anyway
        return has_marks or alert.sent or not rules.trigger_waits_for_mark

    def may_resolve(self, s: State, p: int, task: Task, alert: Alert) -> bool:
        rules = self.rules
        if not alert.resolving or alert.owed or task.held.alert != alert or task.decided < len(task.log):
            return False
        if rules.only_home_speaks and self.home(task.count) != p:
            return False
        if s.late_resolve and rules.resolve_waits_for_late_ones:
            return False
        if not self.is_all_passed_on(s, p, task):
            return False
        return not rules.resolve_waits_for_marks or self.has_marks(p, task, of_all=True)

    def trigger(self, s: State, p: int, alert: Alert, *, early: bool = False) -> Step:
        task = s.tasks[p]
        unsettled = alert.unsettled or (early and self.rules.early_is_repeated)
        alert = alert._replace(sent=True, unsettled=unsettled)
        task = task._replace(now=task.now._replace(alert=alert), wire=("trigger", alert.owed, alert))
        what = f"again {names(alert.counted)}" if not alert.owed else names(alert.owed)
        return f"{p} {'speaks anyway' if early else 'sends trigger'} {what}", put(s, p, task), None

    def accept_trigger(self, s: State, owed: int, sent: Alert) -> tuple[State, str | None]:
        said = owed or sent.counted
        broken = "opened twice" if not s.open and not said & ~s.told and not said & ~s.over else None
        return s._replace(open=True, told=s.told | sent.counted), broken

    def accept_resolve(self, s: State) -> tuple[State, str | None]:
        broken = "closed live" if self.checks_closing and s.told & ~s.over else None
        return s._replace(open=False), broken

    def answer(self, s: State, p: int, task: Task) -> Step:
        assert task.wire is not None
        kind, owed, sent = task.wire
        alert = task.now.alert
        if kind == "trigger":
            s, broken = self.accept_trigger(s, owed, sent)
            if alert is not None:
                alert = alert._replace(owed=alert.owed & ~owed, repeat=alert.repeat and bool(owed))
                if not alert.owed and alert.unsettled and not alert.resolving:
                    alert = alert._replace(repeat=True, unsettled=False)
        else:
            s, broken = self.accept_resolve(s)
            if alert == sent:
                alert = None
            elif alert is not None:
                alert = alert._replace(unsettled=False)
        after = put(s, p, task._replace(wire=None, now=task.now._replace(alert=alert)))
        return f"{p}: {kind} accepted", after, broken

    @staticmethod
    def put_alert(s: State, p: int, task: Task, alert: Alert) -> State:
        return put(s, p, task._replace(now=task.now._replace(alert=alert)))

    # rest

    def at_rest(self, s: State) -> str | None:
        """Nothing happens any more by itself: which promise is broken."""
        alerts = [(p, task.now.alert) for p, task in enumerate(s.tasks) if task.now.alert is not None]
        if len(alerts) > 1:
            return "two alerts"
        if self.events & ((1 << s.made) - 1) & ~s.told:
            return "lost"
        if self.world.old_home_is_down:
            return None  # what it has not handed over waits for it
        if not alerts:
            return "orphan" if s.open else None
        ((p, alert),) = alerts
        if alert.owed or alert.resolving or alert.repeat:
            return "owed for ever"
        if not s.open:
            return "open here only"
        if not self.is_quiet(s, p, s.tasks[p]):
            return "never quiet"
        return "not ended" if self.is_ended(s, alert) else None

    def is_final(self, s: State) -> bool:
        return s.made == len(self.world.items) and s.grown == len(self.world.counts)

    def is_ended(self, s: State, alert: Alert) -> bool:
        return alert.last < max((i for i in range(s.made) if self.world.items[i] == "r"), default=-1)


def explore(rules: Rules, world: World, *, only_first: bool = False) -> Found:
    """Every state, breadth first; the first way to each broken promise, or to any of them (``only_first``)."""
    model = Model(rules, world)
    start = model.start()
    parent: dict[State, tuple[State, str] | None] = {start: None}
    queue: list[State] = [start]
    found = Found()

    def way(s: State, last: str) -> list[str]:
        labels = [last]
        while (link := parent[s]) is not None:
            s, label = link
            labels.append(label)
        return labels[::-1]

    def note(broken: str, s: State, label: str) -> None:
        if broken not in found.broken:
            found.broken[broken] = way(s, label)

    def follow(s: State, steps: Iterator[Step]) -> bool:
        has_any = False
        for label, after, broken in steps:
            has_any = True
            if broken is not None:
                note(broken, s, label)
            elif after not in parent:
                parent[after] = (s, label)
                queue.append(after)
        return has_any

    for s in queue:
        if not follow(s, model.progress(s)) and model.is_final(s) and (rest := model.at_rest(s)) is not None:
            note(rest, s, "rest")
        follow(s, model.outside(s))
        if found.broken and only_first:
            break
        if len(queue) > world.limit:
            found.is_complete = False
            break
    found.states = len(queue)
    return found


def put(s: State, p: int, task: Task) -> State:
    return s._replace(tasks=(*s.tasks[:p], task, *s.tasks[p + 1 :]))


def names(mask: int) -> str:
    return "".join(f"e{i}" for i in range(mask.bit_length()) if mask >> i & 1)


def walk(rules: Rules, world: World, chance: Random, *, most: int = 400) -> list[str] | None:
    """One way through a world that is too large to be explored: the way to a broken promise, with its name at the
    end."""
    model = Model(rules, world)
    s = model.start()
    labels: list[str] = []
    for _ in range(most):
        progress = list(model.progress(s))
        steps = progress + list(model.outside(s))
        if not progress and model.is_final(s) and (rest := model.at_rest(s)) is not None:
            return [*labels, rest]
        if not steps:
            return None
        label, s, broken = chance.choice(steps)
        labels.append(label)
        if broken is not None:
            return [*labels, broken]
    return None
