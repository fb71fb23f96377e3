"""Quorum arithmetic against twins that try every subset."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from dataplane.consensus.configuration import Configurations, is_quorum, quorum_seqno
from dataplane.consensus.log import Entry, Log
from tests.support.raft_nodes import reconfigured

NODES = "abcdefg"
node_sets = st.sets(st.sampled_from(NODES), min_size=1)
acknowledgements = st.dictionaries(st.sampled_from(NODES), st.integers(0, 20))


def majorities(nodes: set[str]) -> list[set[str]]:
    """Every subset of more than half."""
    ordered = sorted(nodes)
    sizes = range(len(ordered) // 2 + 1, len(ordered) + 1)
    return [set(chosen) for size in sizes for chosen in combinations(ordered, size)]


@given(node_sets, st.sets(st.sampled_from(NODES)))
def test_is_quorum(nodes: set[str], agreeing: set[str]) -> None:
    assert is_quorum(nodes, agreeing) == any(majority <= agreeing for majority in majorities(nodes))


@given(node_sets, acknowledgements)
def test_quorum_seqno(nodes: set[str], acknowledged: dict[str, int]) -> None:
    expected = max(min(acknowledged.get(node, 0) for node in majority) for majority in majorities(nodes))
    assert quorum_seqno(nodes, acknowledged) == expected


@given(st.lists(node_sets, min_size=1, max_size=3), acknowledgements)
def test_agreed_seqno(sets: list[set[str]], acknowledged: dict[str, int]) -> None:
    """The highest seqno that a majority of each configuration has."""
    configurations = Configurations()
    for seqno, nodes in enumerate(sets, 1):
        configurations.append(reconfigured(2, seqno, *nodes))

    def held(seqno: int) -> set[str]:
        return {node for node in NODES if acknowledged.get(node, 0) >= seqno}

    def agreed(seqno: int) -> bool:
        return all(any(majority <= held(seqno) for majority in majorities(nodes)) for nodes in sets)

    assert configurations.agreed_seqno(acknowledged) == max(seqno for seqno in range(21) if agreed(seqno))


@given(node_sets, node_sets, st.sets(st.sampled_from(NODES)), st.sets(st.sampled_from(NODES)))
def test_any_two_quorums_that_share_a_configuration_meet(
    shared: set[str], pending: set[str], one: set[str], other: set[str]
) -> None:
    """Why two candidates that know different pending configurations cannot both win a view."""
    first, second = Configurations(), Configurations()
    first.append(reconfigured(2, 1, *shared))
    second.append(reconfigured(2, 1, *shared))
    second.append(reconfigured(2, 2, *pending))
    if first.quorum_in_each(one) and second.quorum_in_each(other):
        assert one & other & shared


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40), st.integers(0, 45), st.integers(0, 90))
def test_highest_possible_match(steps: list[tuple[int, bool]], seqno: int, view: int) -> None:
    """Against a walk over all entries."""
    log, current = Log(max_cached_bytes=0), 1
    for index, (step, is_signed) in enumerate(steps, 1):
        current += step
        log.append(Entry(current, index, b"", signed=is_signed))
    expected = max((s for s in range(1, len(steps) + 1) if s <= seqno and log.view_at(s) <= view), default=0)
    assert log.highest_possible_match(seqno, view) == expected
