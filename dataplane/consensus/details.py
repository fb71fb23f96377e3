"""What `GET /node/consensus` says of a node's consensus (node-api.md 7.1)."""

from __future__ import annotations

from dataplane.consensus.configuration import Configuration
from dataplane.consensus.output import Leadership
from dataplane.consensus.raft import Raft


def details(raft: Raft) -> dict[str, object]:
    """The JSON object `details`."""
    phase = raft.retirement_phase
    return {
        "configs": [_config_json(configuration) for configuration in raft.configurations],
        "acks": {
            node_id: {"seqno": seqno, "last_received_ms": silent_ms}
            for node_id, (seqno, silent_ms) in raft.acknowledged().items()
        },
        "membership_state": raft.membership.value,
        "leadership_state": raft.role.value,
        **({} if phase is None else {"retirement_phase": phase.value}),
        "reconfiguration_type": "OneTransaction",
        "primary_id": raft.leader_id,
        "current_view": raft.view,
        "ticking": raft.role is not Leadership.NONE,
    }


def _config_json(configuration: Configuration) -> dict[str, object]:
    nodes = {node_id: {"address": address} for node_id, address in configuration.nodes}
    return {"idx": configuration.seqno, "nodes": nodes, "rid": configuration.seqno}
