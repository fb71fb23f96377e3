"""What the periodic sweep looks for. It changes nothing about an instance; turns do."""

from collections.abc import Sequence
from datetime import timedelta

from controlplane.backends.backend import BackendError
from controlplane.reconcile.world import World
from controlplane.store import queries
from controlplane.store.tables import Instance

MAX_AT_ONCE = 100


def find_work(world: World) -> Sequence[str]:
    """Ids of instances that need a turn: due and held by nobody, or with a node whose process is gone."""
    now = world.clock()
    with world.database.read() as session:
        due = list(queries.due_instances(session, now, MAX_AT_ONCE))
        lost = [row.id for row in queries.live_instances(session) if _is_free(row, world) and _lost_a_node(world, row)]
    return list(dict.fromkeys([*due, *lost]))


def forget_old(world: World) -> None:
    """Drop operations whose retention has run out (control-plane.md 3.2)."""
    ended_before = world.clock() - timedelta(hours=world.settings.operation_retention_h)
    with world.database.write() as session:
        queries.forget_operations(session, ended_before)


def _is_free(row: Instance, world: World) -> bool:
    return row.lease_until is None or row.lease_until <= world.clock()


def _lost_a_node(world: World, row: Instance) -> bool:
    """Asked of the backend alone, which is cheap: no node is spoken to.

    An instance that is known to be lost is looked at when it is due, not at every sweep.
    """
    if row.running_state == "Unknown":
        return False
    try:
        return not all(node.running for node in world.backend.observe(row.id))
    except BackendError:
        return False
