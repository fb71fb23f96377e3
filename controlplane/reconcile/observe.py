"""One look at an instance: database, backend and service side by side, as the planner wants them."""

from collections.abc import Sequence

from controlplane.arm.validation import SAMPLE, app_source
from controlplane.backends.backend import BackendNode
from controlplane.ccf_operator.service import ServiceView
from controlplane.reconcile.model import Desired, LaunchMode, Observed, ObservedNode
from controlplane.reconcile.record import Notes, Snapshot


def desired_state(snapshot: Snapshot) -> Desired:
    """What the client asked for, and since when."""
    instance = snapshot.instance
    since = snapshot.operation.started_at if snapshot.operation else instance.modified_at
    return Desired(
        instance=instance.name,
        node_count=int(instance.desired["nodeCount"]),
        zones=snapshot.zones,
        since_s=since.timestamp(),
        established=snapshot.established,
        deleting=instance.delete_requested,
        sample_app=app_source(instance.desired) == SAMPLE,
    )


def observed_state(
    snapshot: Snapshot,
    notes: Notes,
    seen: Sequence[BackendNode],
    view: ServiceView | None,
    *,
    gateway_listens: bool,
    leftovers: bool,
) -> Observed:
    """What is; `notes` are those made of this look."""
    return Observed(
        nodes=tuple(_node(snapshot, notes, node, view) for node in seen),
        next_ordinal=max([snapshot.instance.next_ordinal, *(node.ordinal + 1 for node in seen)]),
        service=view.service if view else None,
        failed_launches=notes.failed_launches,
        last_launch_s=notes.last_launch_s,
        gateway_listens=gateway_listens,
        leftovers=leftovers,
    )


def service_certificate(snapshot: Snapshot, seen: Sequence[BackendNode]) -> str | None:
    """The certificate to trust: the one recorded at success, before that whatever the latest first node wrote."""
    if snapshot.established:
        return snapshot.instance.service_certificate
    starts = [node for node in seen if node.mode is LaunchMode.START]
    return max(starts, key=lambda node: node.ordinal).service_certificate if starts else None


def _node(snapshot: Snapshot, notes: Notes, node: BackendNode, view: ServiceView | None) -> ObservedNode:
    row = snapshot.rows.get(node.ordinal)
    return ObservedNode(
        name=node.name,
        ordinal=node.ordinal,
        zone=node.zone,
        mode=node.mode,
        launched_at_s=node.launched_at_s,
        running=node.running,
        node_id=node.node_id,
        rpc_address=node.rpc_address,
        joined=node.ordinal in notes.joined,
        answers=view is not None and node.name in view.answering,
        routed=row is not None and row.state == "Running" and node.running,
    )
