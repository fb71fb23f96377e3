"""Where a replica begins that does not begin at seqno 1, and who its nodes are there.

A state is what a snapshot holds (ledger-format.md 5), or what reading a ledger leaves. Membership is no part of it: it
is derived from `nodes.info`, as every replica derives it from the writes it applies (node-api.md 6.5).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataplane.consensus.configuration import Configuration, Retirement
from dataplane.consensus.log import Nodes
from dataplane.consensus.parameters import Origin
from dataplane.kv.node_record import node_to_node_address
from dataplane.kv.tables import HISTORICAL_ENCRYPTED_LEDGER_SECRET, NODES_INFO, UNIT_KEY, load_json
from dataplane.kv.tx import Tables
from dataplane.ledger.snapshot import Snapshot
from dataplane.merkle.tree import MerkleTree


@dataclass(frozen=True, slots=True)
class State:
    """Everything a replica knows at `seqno`, a committed signature transaction.

    tables: every table, with the seqno of the last write to each key. tree: over leaves 0..`seqno`. view_history: as
    `Raft.view_history`, up to `seqno`. signed: the seqnos of signature transactions, as far as they are known.
    history: the writes of the table of historical ledger secrets; None where no more than the newest is known.
    """

    seqno: int
    view_history: Sequence[int]
    tables: Tables
    tree: MerkleTree
    signed: Sequence[int] = ()
    history: Sequence[tuple[int, bytes]] | None = None

    def secret_history(self) -> Sequence[tuple[int, bytes]]:
        """(seqno, value) of the known writes of the table of historical ledger secrets, ascending."""
        if self.history is not None:
            return self.history
        table = self.tables.get(HISTORICAL_ENCRYPTED_LEDGER_SECRET)
        newest = None if table is None else table.rows.get(UNIT_KEY)
        return () if newest is None else (newest,)

    def origin(self) -> Origin:
        """Where consensus begins with this state, its trusted nodes being the active configuration."""
        return Origin(
            seqno=self.seqno,
            view_history=tuple(self.view_history),
            configurations=_configurations(self.tables),
            retirements=_retirements(self.tables),
        )


def state_from(snapshot: Snapshot) -> State:
    """The state a snapshot holds, decoded with its secrets. Raises `MalformedSnapshot` where its tree does not fit."""
    return State(snapshot.seqno, snapshot.view_history, snapshot.tables, snapshot.tree(), (snapshot.seqno,))


def trusted_nodes(tables: Tables) -> Nodes:
    """The voting nodes: those whose status is Trusted, by node id, with their node-to-node address."""
    return tuple(
        (node_id, node_to_node_address(record))
        for node_id, _, record in _nodes(tables)
        if record["status"] == "Trusted"
    )


def _configurations(tables: Tables) -> tuple[Configuration, ...]:
    nodes = trusted_nodes(tables)
    return (Configuration(tables[NODES_INFO].version, nodes),) if nodes else ()


def _retirements(tables: Tables) -> tuple[Retirement, ...]:
    """All of them are committed; when exactly each was ordered or marked decides nothing any more."""
    return tuple(
        Retirement(node_id, node_to_node_address(record), seqno, seqno if record.get("retired_committed") else 0)
        for node_id, seqno, record in _nodes(tables)
        if record["status"] == "Retired"
    )


def _nodes(tables: Tables) -> list[tuple[str, int, Mapping[str, Any]]]:
    """(node id, seqno of the last write, record) of every node, by node id."""
    if NODES_INFO not in tables:
        return []
    rows = tables[NODES_INFO].rows.items()
    return [(key.decode(), seqno, load_json(value)) for key, (seqno, value) in sorted(rows)]
