"""The states a node passes through (node-api.md 6, 8.1).

A node that starts a service goes `Uninitialized -> Initialized -> PartOfNetwork`; one that joins waits in `Pending`
until the service trusts it. The recovery states belong to the contract and
are entered by a recovery only.
"""

from enum import Enum


class NodeState(Enum):
    """The value is the name `/node/state` reports."""

    UNINITIALIZED = "Uninitialized"
    INITIALIZED = "Initialized"
    PENDING = "Pending"
    PART_OF_PUBLIC_NETWORK = "PartOfPublicNetwork"
    PART_OF_NETWORK = "PartOfNetwork"
    READING_PUBLIC_LEDGER = "ReadingPublicLedger"
    READING_PRIVATE_LEDGER = "ReadingPrivateLedger"


_MOVES: dict[NodeState, frozenset[NodeState]] = {
    NodeState.UNINITIALIZED: frozenset({NodeState.INITIALIZED}),
    NodeState.INITIALIZED: frozenset({NodeState.PART_OF_NETWORK, NodeState.PENDING, NodeState.READING_PUBLIC_LEDGER}),
    NodeState.PENDING: frozenset({NodeState.PART_OF_NETWORK, NodeState.PART_OF_PUBLIC_NETWORK}),
    NodeState.READING_PUBLIC_LEDGER: frozenset({NodeState.PART_OF_PUBLIC_NETWORK}),
    NodeState.PART_OF_PUBLIC_NETWORK: frozenset({NodeState.READING_PRIVATE_LEDGER}),
    NodeState.READING_PRIVATE_LEDGER: frozenset({NodeState.PART_OF_NETWORK}),
    NodeState.PART_OF_NETWORK: frozenset(),
}


class IllegalTransition(Exception):
    """The contract knows no such move."""


def advance(state: NodeState, target: NodeState) -> NodeState:
    """`target`, where the table allows the move; raises `IllegalTransition` otherwise."""
    if target not in _MOVES[state]:
        raise IllegalTransition(f"a node does not go from {state.value} to {target.value}")
    return target
