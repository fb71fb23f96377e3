"""A node moves as the contract's table says, and no other way."""

from hypothesis import given
from hypothesis import strategies as st

from dataplane.node.lifecycle import IllegalTransition, NodeState, advance


def test_starting_and_joining() -> None:
    state = advance(NodeState.UNINITIALIZED, NodeState.INITIALIZED)
    assert advance(state, NodeState.PART_OF_NETWORK) is NodeState.PART_OF_NETWORK
    assert advance(advance(state, NodeState.PENDING), NodeState.PART_OF_NETWORK) is NodeState.PART_OF_NETWORK


@given(st.lists(st.sampled_from(NodeState), max_size=12))
def test_any_walk_ends_in_the_network_or_never_left_the_table(walk: list[NodeState]) -> None:
    state = NodeState.UNINITIALIZED
    for target in walk:
        try:
            state = advance(state, target)
        except IllegalTransition:
            assert target is not state or state in (NodeState.PART_OF_NETWORK, target)
    if NodeState.PART_OF_NETWORK is state:
        assert NodeState.PART_OF_NETWORK in walk
