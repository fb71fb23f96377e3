"""The tasks: each a few lines, given ids and nothing else. What they work on is set once, when the worker starts."""

import threading

from controlplane.reconcile.loop import Turn
from controlplane.reconcile.loop import reconcile as take_turns
from controlplane.reconcile.world import World
from controlplane.worker import sweep as sweeping
from controlplane.worker.celery_app import app

stopping = threading.Event()
"""Set when the worker is told to stop: turns then end between two steps."""

_world: list[World] = []


def use_world(world: World) -> None:
    """What the tasks of this process work on."""
    _world[:] = [world]


@app.task(name="mccf.reconcile")
def reconcile(instance_id: str) -> None:
    """Take turns at one instance; a message that comes twice finds the lease taken."""
    if take_turns(_world[0], instance_id, stopping.is_set) is Turn.DUE_AGAIN and not stopping.is_set():
        reconcile.delay(instance_id)


@app.task(name="mccf.sweep")
def sweep() -> None:
    """Find instances that are due, whose worker died, or that lost a node."""
    for instance_id in sweeping.find_work(_world[0]):
        reconcile.delay(instance_id)


@app.task(name="mccf.forget")
def forget() -> None:
    """Drop operations that ended long ago."""
    sweeping.forget_old(_world[0])
