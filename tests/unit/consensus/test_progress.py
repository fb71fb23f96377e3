"""A leader's knowledge of one follower: what refusals and acknowledgements may move."""

from dataplane.consensus.progress import Progress


def streaming(next_seqno: int = 11) -> Progress:
    return Progress(next_seqno, probing=False, smallest_window_bytes=100, largest_window_bytes=1000)


def test_a_refusal_never_counts_for_commit() -> None:
    progress = streaming()
    progress.refused(0, 9)
    assert (progress.persisted_seqno, progress.next_seqno, progress.probing) == (0, 10, True)


def test_refusals_of_an_earlier_round_change_nothing() -> None:
    progress = streaming()
    progress.refused(0, 4)
    progress.refused(0, 9)
    progress.refused(0, 1)
    assert (progress.next_seqno, progress.round) == (5, 1)


def test_a_refusal_does_not_go_below_what_is_persisted() -> None:
    progress = streaming()
    progress.acknowledged(8, 8)
    progress.refused(0, 2)
    assert progress.next_seqno == 9


def test_an_estimate_beyond_what_was_sent_does_not_move_forward() -> None:
    progress = streaming(5)
    progress.refused(0, 90)
    assert progress.next_seqno == 5


def test_probing_ends_when_a_message_fits() -> None:
    progress = streaming()
    progress.refused(0, 4)
    progress.acknowledged(3, 0)
    assert progress.probing
    progress.acknowledged(4, 2)
    assert not progress.probing
    assert (progress.next_seqno, progress.persisted_seqno) == (5, 2)


def test_acknowledgements_do_not_move_back() -> None:
    progress = streaming()
    progress.acknowledged(8, 6)
    progress.acknowledged(5, 5)
    assert (progress.received_seqno, progress.persisted_seqno) == (8, 6)


def test_the_window_closes_and_opens() -> None:
    progress = streaming()
    progress.sent(12, 700)
    assert progress.may_stream
    progress.sent(13, 300)
    assert not progress.may_stream
    progress.acknowledged(12, 10)
    assert progress.in_flight_bytes == 300
    assert progress.may_stream


def test_the_window_halves_on_a_refusal_and_grows_with_acknowledgements() -> None:
    progress = streaming()
    before = progress.window_bytes
    progress.refused(0, 10)
    assert progress.window_bytes == before // 2
    progress.acknowledged(10, 10)
    progress.sent(12, 60)
    progress.acknowledged(12, 10)
    assert progress.window_bytes == before // 2 + 60


def test_the_window_is_never_smaller_than_what_a_follower_leaves_unanswered() -> None:
    progress = streaming()
    for round_ in range(20):
        progress.acknowledged(10, 0)
        progress.refused(2 * round_, 10)
        progress.refused(2 * round_ + 1, 10)
    assert progress.window_bytes >= 100
