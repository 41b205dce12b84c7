"""Why nothing is fetched of a partition: each reason is let go by itself."""

import pytest

from consumer.tasks.partition.pauses import Pause, Pauses


class Input:
    """A partition that is fetched, or not."""

    is_paused = False

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False


class Setting:
    """The reasons of a task that runs, or not."""

    def __init__(self, *, is_running: bool = True) -> None:
        self.partition_input = Input()
        self.is_running = is_running
        self.pauses = Pauses(self.partition_input, lambda: self.is_running)  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [Pause.LOG, Pause.UNWRITTEN])
def test_it_goes_on_once_the_last_reason_is_gone(first: Pause) -> None:
    setting = Setting()
    reasons = [Pause.LOG, Pause.UNWRITTEN]
    for reason in reasons:
        setting.pauses.hold_back(reason)
    setting.pauses.let_go(first)
    assert setting.partition_input.is_paused
    (last,) = (reason for reason in reasons if reason in setting.pauses)
    setting.pauses.let_go(last)
    assert not setting.partition_input.is_paused


def test_what_was_no_reason_lets_nothing_go() -> None:
    setting = Setting()
    setting.pauses.hold_back(Pause.LOG)
    setting.pauses.let_go(Pause.FORWARDS)
    assert setting.partition_input.is_paused


def test_a_task_that_does_not_run_is_given_nothing() -> None:
    setting = Setting(is_running=False)
    setting.pauses.hold_back(Pause.UNWRITTEN)
    setting.pauses.let_go(Pause.UNWRITTEN)
    assert setting.partition_input.is_paused


def test_what_has_held_it_back_before_it_began_goes_on_to_do_so() -> None:
    setting = Setting(is_running=False)
    setting.pauses.hold_back(Pause.FORMER_INPUT)
    setting.partition_input.resume()  # as the beginning does
    setting.is_running = True
    setting.pauses.begin()
    assert setting.partition_input.is_paused
