"""Reading an instance for one turn, and writing down what was seen, where the lease still holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from controlplane.arm.resource_id import InstanceId
from controlplane.backends.backend import BackendNode
from controlplane.ccf_operator.service import ServiceView
from controlplane.reconcile.model import NodeStatus
from controlplane.settings import Settings
from controlplane.store import lease, queries
from controlplane.store.tables import Instance, Node, Operation


@dataclass(frozen=True, slots=True)
class Notes:
    """What the reconciler must remember between two looks and nobody else reads (`Instance.observed`)."""

    generation: int = 0
    failed_launches: int = 0
    last_launch_s: float = 0.0
    joined: tuple[int, ...] = ()
    """Ordinals of nodes that the service trusted at least once."""
    awaited_proposal: str | None = None
    """The proposal whose votes were last waited for: its event is written once."""

    @classmethod
    def load(cls, stored: Mapping[str, Any] | None, generation: int) -> "Notes":
        """The stored notes; a new generation starts with a clean count of failures."""
        if not stored:
            return cls(generation)
        notes = cls(**(dict(stored) | {"joined": tuple(stored["joined"])}))
        return notes if notes.generation == generation else replace(notes, generation=generation, failed_launches=0)

    def as_json(self) -> dict[str, Any]:
        return {
            "generation": self.generation,
            "failed_launches": self.failed_launches,
            "last_launch_s": self.last_launch_s,
            "joined": list(self.joined),
            "awaited_proposal": self.awaited_proposal,
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An instance as the database has it at the start of a turn. The rows are detached: read, never written."""

    instance: Instance
    nodes: tuple[Node, ...]
    operation: Operation | None
    zones: tuple[str, ...]
    notes: Notes
    rows: Mapping[int, Node] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", {node.ordinal: node for node in self.nodes})

    @property
    def established(self) -> bool:
        return self.instance.observed_generation > 0

    @property
    def resource_id(self) -> str:
        instance = self.instance
        return str(InstanceId(instance.subscription_id, instance.group_name, instance.name))

    @property
    def unfinished(self) -> bool:
        """An operation waits for its end."""
        return self.operation is not None and self.operation.ended_at is None


def read_snapshot(session: Session, settings: Settings, instance_id: str) -> Snapshot | None:
    """None when the instance is gone."""
    instance = queries.instance_by_id(session, instance_id)
    if instance is None:
        return None
    zones = tuple(zone.name for zone in queries.zones(session) if zone.backend == settings.backend and not zone.down)
    operation = queries.operation(session, instance.operation_id) if instance.operation_id else None
    nodes = tuple(queries.nodes_of_instance(session, instance_id))
    notes = Notes.load(instance.observed, instance.generation)
    return Snapshot(instance, nodes, operation, zones or settings.zones, notes)


def save_seen(
    session: Session,
    snapshot: Snapshot,
    token: str,
    now: datetime,
    seen: Sequence[BackendNode],
    view: ServiceView | None,
) -> Notes | None:
    """Bring node rows and notes up to what was seen; None when the lease was lost and nothing was written."""
    notes = _notes_after(snapshot, view, seen)
    next_ordinal = max([snapshot.instance.next_ordinal, *(node.ordinal + 1 for node in seen)])
    if not lease.save(
        session, snapshot.instance.id, token, next_ordinal=next_ordinal, observed=notes.as_json(), **_service(view)
    ):
        return None
    for node in seen:
        _save_node(session, snapshot, now, node, view)
    names = {node.name for node in seen}
    for row in snapshot.nodes:
        if row.name not in names:
            session.delete(session.merge(row, load=False))
    return notes


def needs_saving(snapshot: Snapshot, seen: Sequence[BackendNode], view: ServiceView | None) -> bool:
    """Whether `save_seen` would change anything: most looks find the world as it was."""
    if snapshot.notes != _notes_after(snapshot, view, seen) or {n.name for n in seen} != {
        n.name for n in snapshot.nodes
    }:
        return True
    instance = snapshot.instance
    if any(getattr(instance, column) != value for column, value in _service(view).items()):
        return True
    return any(
        getattr(snapshot.rows[node.ordinal], column) != value
        for node in seen
        for column, value in _columns(snapshot, node, view).items()
    )


def route(session: Session, snapshot: Snapshot, names: Sequence[str], now: datetime) -> None:
    """Make `names` the nodes the gateway sends clients to."""
    for row in snapshot.nodes:
        wanted = row.name in names
        if wanted != (row.state == "Running"):
            row = session.merge(row, load=False)
            row.state = "Running" if wanted else "Joining"
            row.updated_at = now


def add_event(
    session: Session, snapshot: Snapshot, now: datetime, kind: str, message: str, level: str = "Informational"
) -> None:
    """One line of the activity log about this instance."""
    operation = snapshot.operation if snapshot.unfinished else None
    queries.add_event(
        session,
        at=now,
        resource_row_id=snapshot.instance.id,
        resource_id=snapshot.resource_id,
        kind=kind,
        message=message,
        level=level,
        operation_id=operation.id if operation else None,
        correlation_id=operation.correlation_id if operation else None,
    )


def _notes_after(snapshot: Snapshot, view: ServiceView | None, seen: Sequence[BackendNode]) -> Notes:
    notes = snapshot.notes
    trusted = {r.node_id for r in view.service.nodes if r.status is NodeStatus.TRUSTED} if view else set()
    here = {node.ordinal for node in seen}
    joined = {node.ordinal for node in seen if node.node_id in trusted} | (set(notes.joined) & here)
    newcomers = joined - set(notes.joined)
    return replace(notes, joined=tuple(sorted(joined)), failed_launches=0 if newcomers else notes.failed_launches)


def _service(view: ServiceView | None) -> dict[str, Any]:
    if view is None:
        return {}
    return {
        "service_state": view.service.status.value,
        "waiting_for_members": list(view.service.waiting_for) or None,
    }


def _save_node(
    session: Session, snapshot: Snapshot, now: datetime, node: BackendNode, view: ServiceView | None
) -> None:
    columns = _columns(snapshot, node, view)
    row = snapshot.rows.get(node.ordinal)
    if row is None:
        common = {"instance_id": snapshot.instance.id, "ordinal": node.ordinal, "name": node.name, "zone": node.zone}
        session.add(Node(id=queries.new_id(), created_at=now, updated_at=now, **common, **columns))
        return
    if any(getattr(row, column) != value for column, value in columns.items()):
        if columns["state"] == "Dead" and row.state != "Dead":
            add_event(session, snapshot, now, "node.dead", f"Node {node.name} is gone.", "Warning")
        row = session.merge(row, load=False)
        for column, value in (columns | {"updated_at": now}).items():
            setattr(row, column, value)


def _columns(snapshot: Snapshot, node: BackendNode, view: ServiceView | None) -> dict[str, Any]:
    row = snapshot.rows.get(node.ordinal)
    record = next((r for r in view.service.nodes if r.node_id == node.node_id), None) if view else None
    role = row.role if row else None
    if record is not None:
        role = "Primary" if record.primary else "Backup"
    return {
        "state": _state(node, record.status if record else None, row.state if row else None),
        "node_id": node.node_id,
        "role": role if node.running else None,
        "rpc_address": node.rpc_address,
        "peer_address": node.peer_address,
        "message": node.last_words if not node.running else None,
    }


def _state(node: BackendNode, status: NodeStatus | None, before: str | None) -> str:
    """`Running` is given by `route` alone, and taken away here as soon as a node cannot serve any more."""
    if not node.running:
        return "Dead"
    if status is NodeStatus.RETIRED:
        return "Retiring"
    if before == "Running":
        return "Running"
    return "Joining" if status is not None else "Starting"
