"""Records are taken in their order, each once."""

from consumer.feedback.lane import Lane


def test_what_was_handed_is_taken_in_order_and_a_checkpoint_holds_how_far() -> None:
    lane: Lane[str] = Lane()
    lane.start({0: 3})

    lane.hand(0, [(2, "old"), (3, "a"), (5, "b")], 7)
    assert (len(lane), lane.head, lane.positions) == (2, (0, 3, "a"), {0: 3})

    lane.took()
    assert lane.positions == {0: 4}
    lane.took()
    assert (lane.head, lane.positions) == (None, {0: 7})


def test_what_is_read_again_is_handed_once() -> None:
    lane: Lane[str] = Lane()
    lane.hand(0, [(0, "a")], 1)
    lane.hand(0, [(0, "a"), (1, "b")], 2)

    assert (len(lane), lane.next_offset(0), lane.next_offset(1)) == (2, 2, 0)


def test_a_topic_that_was_made_anew_begins_anew() -> None:
    lane: Lane[str] = Lane()
    lane.start({0: 9})
    lane.reset(0, 0)
    lane.hand(0, [(0, "a")], 1)

    assert lane.head == (0, 0, "a")
