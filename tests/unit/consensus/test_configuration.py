"""Membership and quorums, without messages or time."""

import pytest

from dataplane.consensus.configuration import (
    Configurations,
    RetirementPhase,
    is_quorum,
    is_well_formed,
    quorum_seqno,
)
from dataplane.consensus.log import Entry
from tests.support.raft_nodes import members, reconfigured


def configured(*sets: str) -> Configurations:
    """One configuration per word of node letters, at seqnos 1, 2, ..."""
    configurations = Configurations()
    for seqno, letters in enumerate(sets, 1):
        configurations.append(reconfigured(2, seqno, *letters))
    return configurations


@pytest.mark.parametrize(
    ("nodes", "agreeing", "expected"),
    [("abc", "ab", True), ("abc", "a", False), ("abcd", "ab", False), ("abcd", "abc", True), ("a", "a", True)],
)
def test_a_quorum_is_more_than_half(nodes: str, agreeing: str, expected: bool) -> None:
    assert is_quorum(nodes, agreeing) is expected


def test_who_is_no_member_does_not_count() -> None:
    assert not is_quorum("abc", "axyz")


def test_quorum_seqno() -> None:
    assert quorum_seqno("abc", {"a": 9, "b": 7}) == 7
    assert quorum_seqno("abcd", {"a": 9, "b": 7, "c": 5}) == 5
    assert quorum_seqno("abcd", {"a": 9, "b": 7}) == 0


def test_old_and_new_configuration_count_until_the_new_one_commits() -> None:
    configurations = configured("abc", "cde")
    assert not configurations.quorum_in_each("ab")
    assert not configurations.quorum_in_each("de")
    assert configurations.quorum_in_each("bcd")
    assert configurations.agreed_seqno({"a": 5, "b": 5, "c": 3, "d": 4}) == 3
    configurations.commit(2)
    assert configurations.quorum_in_each("de")


def test_the_tally_is_per_configuration_not_over_the_union() -> None:
    """Four of the five nodes in any configuration, yet no majority of the old one."""
    assert not configured("abc", "ade").quorum_in_each("ade")


def test_there_is_no_quorum_without_a_configuration() -> None:
    assert not Configurations().quorum_in_each("abc")
    assert Configurations().agreed_seqno({"a": 4}) == 0


def test_a_commit_drops_all_that_it_replaces() -> None:
    configurations = configured("a", "ab", "abc", "abcd")
    configurations.commit(3)
    assert [c.seqno for c in configurations.active] == [3, 4]


def test_rollback_restores_what_was_before() -> None:
    configurations = configured("abc", "cde")
    configurations.rollback(1)
    assert [c.ids for c in configurations.active] == [("a", "b", "c")]
    assert configurations.retirements(1, 1) == {}


def test_retirement_phases() -> None:
    configurations = configured("abc", "ab")
    assert configurations.retirements(1, 1) == {"c": RetirementPhase.ORDERED}
    assert configurations.retirements(3, 1) == {"c": RetirementPhase.SIGNED}
    configurations.commit(3)
    assert configurations.retirements(3, 3) == {"c": RetirementPhase.COMPLETED}
    assert configurations.unmarked(3) == ("c",)
    configurations.append(Entry(2, 4, b"", retired_committed=("c",)))
    assert configurations.unmarked(3) == ()
    assert configurations.replicated() == {"a": "a:1", "b": "b:1", "c": "c:1"}
    configurations.commit(5)
    assert configurations.is_retired("c")
    assert configurations.retirements(5, 5) == {}
    assert configurations.replicated() == {"a": "a:1", "b": "b:1"}


def test_a_rolled_back_mark_can_be_made_again() -> None:
    configurations = configured("abc", "ab")
    configurations.commit(3)
    configurations.append(Entry(2, 4, b"", retired_committed=("c",)))
    configurations.rollback(3)
    assert configurations.unmarked(3) == ("c",)


def test_only_a_signed_configuration_lets_a_node_campaign() -> None:
    configurations = configured("abc", "abcd")
    assert not configurations.includes_committable("d", 1)
    assert configurations.includes_committable("d", 2)
    assert configurations.includes_committable("a", 1)


def test_well_formed() -> None:
    assert is_well_formed(members("a", "b"))
    assert not is_well_formed(())
    assert not is_well_formed((("b", "1"), ("a", "1")))
    assert not is_well_formed((("a", "1"), ("a", "2")))
