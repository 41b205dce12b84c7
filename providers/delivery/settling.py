"""What follows from answers: whose fault a failure is, and what the task and the integration are told of it (design
section 13).
"""

from collections.abc import Callable
from typing import Final, Protocol

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.delivery.integration import Alert, Integration, Suspect
from providers.delivery.outage import Failure
from providers.delivery.outbox import Dispatch, Observer, Outbox, Outcome
from providers.delivery.queue import Entry
from providers.delivery.route_reports import RouteReports
from providers.notify import NO_SUCH_ALERT
from providers.retry import Backoff

OWN_BACKOFF_SECONDS: Final = 600.0
"""The longest backoff, in seconds, of an alert that fails while its integration accepts others."""

ACCESS_STATUSES: Final = frozenset({401, 402, 403, 405, 407})
"""The statuses of rejections that may come from a gateway between us and the provider, which may let the alert pass
later."""


class Tasks(Protocol):
    """What the outcomes of notifications are passed on to: the tasks."""

    def tell(self, entry: Entry, dispatch: Dispatch, outcome: Outcome) -> None:
        """Tell the task the outcome, and ask it what its alert has to say next."""
        ...

    def ask_again(self, alert: Alert, here: Integration) -> None:
        """Ask again after an answer through the integration ``here``: the next notification can have another route."""
        ...

    def is_withdrawn(self, outbox: Outbox) -> bool:
        """Whether nothing may leave for this task any more."""
        ...

    def meets_a_bug(self, alert: Alert, error: Exception) -> None:
        """Report a bug that one alert has met, and try this alert again later. No other alert notices."""
        ...


class Settling:
    """Decides what follows from each answer. ``clock`` is monotonic, in seconds."""

    def __init__(
        self, tasks: Tasks, observer: Observer, reports: RouteReports, backoff: Backoff, clock: Callable[[], float]
    ) -> None:
        self._tasks = tasks
        self._observer = observer
        self._reports = reports
        self._backoff = backoff
        self._clock = clock

    def settle(
        self, integration: Integration, entry: Entry, dispatch: Dispatch, answer: Answer, sent_at: float
    ) -> None:
        """Decide what follows from the answer to a notification that left at ``sent_at``."""
        now = self._clock()
        suspect = (
            Suspect(entry, dispatch, answer, sent_at, now, integration.known_to_work_at)
            if isinstance(answer, Rejected | RouteRefused)
            else None
        )
        match answer:
            case Accepted():
                self._accepted(integration, entry, sent_at, now)
                self._tasks.tell(entry, dispatch, answer)
            case Rejected(is_plain=True):
                self._reject(entry, dispatch, answer)
            case Rejected():
                assert suspect is not None
                if integration.check_interval:
                    self._suspect(integration, suspect)
                elif integration.believes_rejection(answer):
                    self._own_fault(integration, suspect)
                else:
                    self._reports.refuses(integration, answer, by_check=False)
                    self._routes_fault(integration, suspect)
            case RouteRefused():
                assert suspect is not None
                if integration.is_own_trouble(entry) and integration.check_interval:
                    self._suspect(integration, suspect)  # the provider may refuse this alert only
                elif integration.is_own_trouble(entry) or sent_at <= integration.accepted_at:
                    self._own_fault(integration, suspect)
                else:
                    self._reports.refuses(integration, answer, by_check=False)
                    self._routes_fault(integration, suspect)
            case Throttled(reason=reason, retry_after=retry_after):
                if integration.throttled(entry, retry_after, sent_at, now):
                    self._reports.throttled(integration, answer, now)
                    self._tasks.ask_again((entry.outbox, entry.dedup_key), integration)
                else:
                    self._fail(integration, entry, dispatch, Unavailable(429, reason, retry_after), sent_at)
            case Unavailable():
                self._fail(integration, entry, dispatch, answer, sent_at)

    def _accepted(self, integration: Integration, entry: Entry, sent_at: float, now: float) -> None:
        suspects = integration.accepted(entry, sent_at, now)
        self._reports.works(integration)
        for suspect in suspects:
            self._clear_up(integration, suspect, key_works=True)

    def _fail(
        self, integration: Integration, entry: Entry, dispatch: Dispatch, answer: Unavailable, sent_at: float
    ) -> None:
        """The notification is still owed, and tried again after its backoff. The backoff grows further while the
        integration accepts others."""
        now, retry_after = self._clock(), answer.retry_after or 0.0
        retry = integration.note_failure(entry, sent_at)
        integration.failed(entry, now, retry_after)
        if not integration.fails_alone(entry):
            self._reports.fails(integration, Failure(answer.status, answer.reason), now)
        elif entry.pending.failures and not retry.is_told:
            retry.is_told = True
            self._observer.fails_alone(dispatch, answer, attempt(entry))
        wait = self._backoff.wait(entry.pending.failures + 1, OWN_BACKOFF_SECONDS if retry.others_accepted else None)
        retry.not_before = now + wait
        if integration.breaker.probes.asked_until < now + retry_after:  # else the breaker makes all wait
            retry.not_before = now + max(wait, retry_after)
        self._tasks.tell(entry, dispatch, answer)

    def _suspect(self, integration: Integration, suspect: Suspect) -> None:
        if self._tasks.is_withdrawn(suspect.entry.outbox):
            return  # it stays owed, and the next owner finds out whose fault it is
        integration.suspect(suspect)
        self._tasks.ask_again((suspect.entry.outbox, suspect.entry.dedup_key), integration)

    def _clear_up(self, integration: Integration, suspect: Suspect, *, key_works: bool) -> None:
        """It is known now whether the key works, and so whose fault the rejection was. Nothing happens if the suspect
        no longer waits for that."""
        alert = (suspect.entry.outbox, suspect.entry.dedup_key)
        if integration.suspects.get(alert) is not suspect:
            return
        del integration.suspects[alert]
        try:
            (self._key_works if key_works else self._routes_fault)(integration, suspect)
        except Exception as error:
            self._tasks.meets_a_bug(alert, error)

    def _key_works(self, integration: Integration, suspect: Suspect) -> None:
        """The key works now. If it may not have worked at the time of the rejection, the notification is tried once
        more, behind what has not failed, before the rejection counts as the alert's own fault."""
        entry, sent_at = suspect.entry, suspect.sent_at
        if suspect.is_certain or _may_be_taken_later(suspect.answer) or integration.is_asked_again(entry):
            self._own_fault(integration, suspect)
        else:
            integration.note_failure(entry, sent_at).is_asked_again = True
            self._stay_owed(suspect)

    def _own_fault(self, integration: Integration, suspect: Suspect) -> None:
        """Give up the notification, or try it again later: the key works, so the notification itself is at fault."""
        answer, entry = suspect.answer, suspect.entry
        if isinstance(answer, Rejected) and not _may_be_taken_later(answer):
            self._reject(entry, suspect.dispatch, answer)
        else:
            failed = Unavailable(answer.status, answer.reason)
            self._fail(integration, entry, suspect.dispatch, failed, suspect.sent_at)

    def _reject(self, entry: Entry, dispatch: Dispatch, answer: Rejected) -> None:
        self._observer.rejected(dispatch, answer)
        self._tasks.tell(entry, dispatch, answer)

    def _routes_fault(self, integration: Integration, suspect: Suspect) -> None:
        """Keep the notification owed, in its place, because the key does not work."""
        integration.note_failure(suspect.entry, suspect.sent_at)
        self._stay_owed(suspect)
        integration.forgive((suspect.entry.outbox, suspect.entry.dedup_key), self._clock())

    def _stay_owed(self, suspect: Suspect) -> None:
        self._tasks.tell(suspect.entry, suspect.dispatch, RouteRefused(suspect.answer.status, suspect.answer.reason))

    def checked(self, integration: Integration, answer: Answer, sent_at: float) -> None:
        """Decide what follows from the answer to a check of the key that left at ``sent_at``."""
        now = self._clock()
        match answer:
            case Accepted():
                suspects = integration.check_accepted(sent_at, now)
                self._reports.check_works(integration)
                for suspect in suspects:
                    self._clear_up(integration, suspect, key_works=True)
            case Rejected(is_plain=True):
                # A 404: the provider has read the key and has no such alert. But if notifications were answered 404,
                # too, the address is wrong: that is no alert's fault.
                suspects = integration.check_read(sent_at, now)
                nowhere = [suspect for suspect in suspects if suspect.answer.status == NO_SUCH_ALERT]
                if nowhere:
                    self._reports.refuses(integration, answer, by_check=False)
                else:
                    self._reports.check_works(integration)
                for suspect in suspects:
                    self._clear_up(integration, suspect, key_works=suspect not in nowhere)
            case Rejected() | RouteRefused():
                if sent_at <= integration.accepted_at:
                    return  # a notification was accepted after the check had left
                self._reports.refuses(integration, answer, by_check=True)
                for suspect in integration.check_refused():
                    self._clear_up(integration, suspect, key_works=False)
            case Throttled(retry_after=retry_after):
                integration.limiter.throttled(now, retry_after)
                self._reports.throttled(integration, answer, now)
                integration.check_unanswered()
            case Unavailable(status=status, reason=reason):
                if sent_at > integration.accepted_at:
                    self._reports.fails(integration, Failure(status, reason), now, by_check=True)
                integration.check_unanswered()


def attempt(entry: Entry) -> int:
    return entry.pending.failures + 1


def _may_be_taken_later(answer: Rejected | RouteRefused) -> bool:
    return isinstance(answer, RouteRefused) or answer.status in ACCESS_STATUSES
