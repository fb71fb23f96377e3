"""What a node counts, and its metrics as Prometheus reads them.

The JSON of `/node/metrics` is the contract's and stays as small as that (node-api.md 2.2); everything else is here.
"""

import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataplane.api.pipeline import Traffic
from dataplane.api.prometheus import Family, counter, gauge
from dataplane.consensus.output import Leadership
from dataplane.consensus.raft import Raft
from dataplane.node.channels import Channels
from dataplane.node.lifecycle import NodeState


@dataclass(slots=True)
class Counters:
    """What this node has written and signed since it started."""

    ledger_entries: int = 0
    ledger_bytes: int = 0
    ledger_syncs: int = 0
    signatures: int = 0


def families(
    state: NodeState,
    raft: Raft,
    signed_seqno: int,
    counters: Counters,
    traffic: Traffic,
    sessions: Mapping[str, Any],
    channels: Channels,
    snapshots: int,
    ledger_lost: bool,
) -> list[Family]:
    """Every metric of a node; `sessions` is the object of `/node/metrics`."""
    return [
        Family("mccf_node_state", "gauge", "1 for the state the node is in.", _one_of(NodeState, state)),
        *_sessions(sessions),
        *_consensus(raft, signed_seqno),
        gauge("mccf_channels_kept", "Nodes that connections are held to.", len(channels.kept())),
        gauge("mccf_channels_up", "Nodes that can be sent to now.", len(channels.connected())),
        *_ledger(counters),
        gauge("mccf_ledger_lost", "1 when the ledger cannot be written and the node takes no writes.", ledger_lost),
        counter("mccf_snapshots_total", "Snapshots written by this node.", snapshots),
        *_traffic(traffic),
        *_process(),
    ]


def _sessions(sessions: Mapping[str, Any]) -> list[Family]:
    interfaces: Mapping[str, Mapping[str, Any]] = sessions["interfaces"]

    def by_interface(name: str) -> Sequence[tuple[Mapping[str, str], float]]:
        return [({"interface": interface}, fields[name]) for interface, fields in interfaces.items()]

    faults = [
        ({"interface": interface, "error": error}, count)
        for interface, fields in interfaces.items()
        for error, count in fields["errors"].items()
    ]
    return [
        Family("mccf_sessions_active", "gauge", "Open sessions.", by_interface("active")),
        Family("mccf_sessions_peak", "gauge", "Most sessions ever open at once.", by_interface("peak")),
        Family("mccf_sessions_soft_cap", "gauge", "Sessions beyond this are answered 503.", by_interface("soft_cap")),
        Family("mccf_sessions_hard_cap", "gauge", "Sessions beyond this are refused.", by_interface("hard_cap")),
        Family("mccf_session_errors_total", "counter", "Requests that could not be read.", faults),
    ]


def _consensus(raft: Raft, signed_seqno: int) -> list[Family]:
    acknowledged = raft.acknowledged()
    return [
        Family("mccf_consensus_role", "gauge", "1 for the role the node has.", _one_of(Leadership, raft.role)),
        gauge("mccf_consensus_view", "Current view.", raft.view),
        gauge("mccf_consensus_seqno", "Last transaction in the ledger of this node.", raft.last_seqno),
        gauge("mccf_consensus_commit_seqno", "Last transaction this node knows to be committed.", raft.commit_seqno),
        gauge("mccf_consensus_signed_seqno", "Last signature transaction.", signed_seqno),
        gauge("mccf_consensus_unsigned", "Transactions after the last signature.", raft.last_seqno - signed_seqno),
        gauge("mccf_consensus_nodes", "Nodes that vote.", len({n for c in raft.configurations for n in c.ids})),
        Family(
            "mccf_consensus_acknowledged_seqno", "gauge", "What each backup has acknowledged (primary only).",
            [({"node": node}, seqno) for node, (seqno, _) in acknowledged.items()],
        ),
        Family(
            "mccf_consensus_last_received_seconds", "gauge", "Since each backup last answered (primary only).",
            [({"node": node}, silent_ms / 1000) for node, (_, silent_ms) in acknowledged.items()],
        ),
    ]  # fmt: skip


def _ledger(counters: Counters) -> list[Family]:
    return [
        counter("mccf_ledger_entries_total", "Entries written to the ledger.", counters.ledger_entries),
        counter("mccf_ledger_bytes_total", "Bytes written to the ledger.", counters.ledger_bytes),
        counter("mccf_ledger_syncs_total", "Times the ledger was made durable.", counters.ledger_syncs),
        counter("mccf_signatures_total", "Signature transactions made by this node.", counters.signatures),
    ]


def _traffic(traffic: Traffic) -> list[Family]:
    answers = [({"status": f"{kind}xx"}, count) for kind, count in sorted(traffic.answers.items())]
    return [
        Family("mccf_answers_total", "counter", "Requests of clients answered by this node, by status.", answers),
        counter("mccf_js_executions_total", "Executions of the deployed application.", traffic.deployed),
        counter("mccf_forwarded_total", "Requests handed to the primary.", traffic.forwarded),
        counter("mccf_forwarded_executions_total", "Requests executed for other nodes.", traffic.executed_for_others),
        counter("mccf_redirected_total", "Requests answered with a redirection.", traffic.redirected),
        counter("mccf_conflicts_total", "Executions repeated because of a conflict.", traffic.conflicts),
    ]


def _process() -> list[Family]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return [
        counter("process_cpu_seconds_total", "User and system time.", usage.ru_utime + usage.ru_stime),
        gauge("process_resident_memory_bytes", "Resident memory.", pages * os.sysconf("SC_PAGE_SIZE")),
        gauge("process_open_fds", "Open file descriptors.", len(os.listdir("/proc/self/fd"))),
        gauge("process_max_fds", "File descriptors allowed.", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    ]


def _one_of(choices: type[NodeState] | type[Leadership], chosen: object) -> Sequence[tuple[Mapping[str, str], float]]:
    label = "state" if choices is NodeState else "role"
    return [({label: str(choice.value)}, float(choice is chosen)) for choice in choices]
