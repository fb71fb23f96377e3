"""Lease, observe, plan, perform, save where the lease still holds (architecture 5).

A turn belongs to one instance. It ends when nothing is left to do, when it has lasted long enough (then another
turn is due at once), or when the lease is lost. Whatever a turn leaves undone, the sweep finds.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from sqlalchemy.orm import Session

from controlplane.backends.backend import BackendError, BackendNode
from controlplane.ccf_operator.service import ActionRefused, AwaitingVotes, Operator, ServiceUnavailable, ServiceView
from controlplane.reconcile import record
from controlplane.reconcile.model import Decision, Done, Failed, ServiceStatus, Step, Wait
from controlplane.reconcile.observe import desired_state, observed_state, service_certificate
from controlplane.reconcile.perform import LeaseLost, NoPort, perform
from controlplane.reconcile.plan import percent_complete, plan
from controlplane.reconcile.record import Snapshot
from controlplane.reconcile.world import World
from controlplane.store import lease, outcome, queries

POLL_S = 0.1
LONGEST_POLL_S = 1.0
TURN_S = 20.0
LOOK_AGAIN_MS = 5_000
"""How often a healthy, open instance is looked at through its API; dead processes are noticed by the sweep."""
LOOK_SOON_MS = 0
"""With the next sweep: the instance waits for its members, and they should not wait for us."""

_INVISIBLE = ("due_at", "observed")
_log = logging.getLogger(__name__)


class Turn(Enum):
    """How a turn ended."""

    FINISHED = "finished"
    DUE_AGAIN = "due again"
    NOT_OURS = "not ours"


def reconcile(world: World, instance_id: str, stopping: Callable[[], bool] = lambda: False) -> Turn:
    """Take turns at one instance until it is as desired. `stopping` is asked between two steps."""
    token = queries.new_id()
    with world.database.write() as session:
        if not lease.take(session, instance_id, token, world.clock(), world.settings.lease_ms):
            return Turn.NOT_OURS
    turn = _InstanceTurn(world, instance_id, token)
    try:
        return turn.run(stopping)
    except LeaseLost:
        return Turn.NOT_OURS
    finally:
        turn.close()


class _InstanceTurn:
    """One turn: what it holds on to between two looks."""

    def __init__(self, world: World, instance_id: str, token: str) -> None:
        self._world, self._id, self._token = world, instance_id, token
        self._began = self._renewed = world.clock()
        self._operator: Operator | None = None
        self._trusting: str | None = None
        self._last_step: Step | None = None
        self._failures = 0
        self._told: set[str] = set()

    def run(self, stopping: Callable[[], bool]) -> Turn:
        while not stopping() and self._world.clock() - self._began < timedelta(seconds=TURN_S):
            self._renew()
            snapshot = self._read()
            if snapshot is None:
                return Turn.NOT_OURS
            pause_s = self._advance(snapshot)
            if pause_s is None:
                return Turn.FINISHED
            if pause_s:
                self._world.sleep(pause_s)
        return Turn.DUE_AGAIN

    def close(self) -> None:
        if self._operator is not None:
            self._operator.close()
        with self._world.database.write() as session:
            lease.release(session, self._id, self._token)

    def _advance(self, snapshot: Snapshot) -> float | None:
        """One look and one decision. The pause before the next in seconds, or None when the turn is over."""
        try:
            seen, view = self._look(snapshot)
            decision, percent = self._decide(snapshot, seen, view)
            return self._follow(snapshot, decision, percent, view)
        except (ServiceUnavailable, BackendError, NoPort) as problem:
            self._failures += 1
            if self._failures == 1:
                _log.info("will try again: %s", problem, extra={"instance": snapshot.instance.name})
            return min(LONGEST_POLL_S, POLL_S * self._failures)
        except ActionRefused as problem:
            self._note_refusal(snapshot, problem)
            return LONGEST_POLL_S
        except AwaitingVotes as problem:
            return None if self._await_votes(snapshot, problem) else 0.0

    def _look(self, snapshot: Snapshot) -> tuple[Sequence[BackendNode], ServiceView | None]:
        seen = self._world.backend.observe(self._id)
        certificate = service_certificate(snapshot, seen)
        if certificate != self._trusting:
            self._connect(certificate)
        if self._operator is None or snapshot.instance.delete_requested:
            return seen, None
        addresses = {node.name: node.rpc_address for node in seen if node.running and node.rpc_address}
        return seen, self._operator.look(addresses)

    def _connect(self, certificate: str | None) -> None:
        if self._operator is not None:
            self._operator.close()
        self._operator = None if certificate is None else self._world.operator(self._id, certificate)
        self._trusting = certificate

    def _decide(
        self, snapshot: Snapshot, seen: Sequence[BackendNode], view: ServiceView | None
    ) -> tuple[Decision, int]:
        notes = self._save(snapshot, seen, view)
        port = snapshot.instance.gateway_port
        observed = observed_state(
            snapshot,
            notes,
            seen,
            view,
            gateway_listens=snapshot.established or (port is not None and self._world.gateway_listens(port)),
            leftovers=self._world.backend.holds(self._id) or self._world.has_operator(self._id),
        )
        desired = desired_state(snapshot)
        decision = plan(desired, observed, self._world.clock().timestamp())
        return decision, percent_complete(desired, observed)

    def _save(self, snapshot: Snapshot, seen: Sequence[BackendNode], view: ServiceView | None) -> record.Notes:
        if not record.needs_saving(snapshot, seen, view):
            return snapshot.notes
        with self._world.database.write() as session:
            notes = record.save_seen(session, snapshot, self._token, self._world.clock(), seen, view)
        if notes is None:
            raise LeaseLost
        return notes

    def _follow(self, snapshot: Snapshot, decision: Decision, percent: int, view: ServiceView | None) -> float | None:
        match decision:
            case Done():
                return None if self._finish(snapshot, decision, view) else 0.0
            case Failed():
                return None if self._fail(snapshot, decision) else 0.0
            case Wait():
                self._show_progress(snapshot, percent)
                self._last_step = None
                return POLL_S
        self._show_progress(snapshot, percent)
        # A step whose effect does not show yet must not be repeated in a tight loop.
        pause_s = POLL_S if decision == self._last_step else 0.0
        self._last_step = decision
        fresh = self._read()
        if fresh is None:
            raise LeaseLost
        perform(self._world, fresh, self._token, decision, self._operator)
        self._failures = 0
        return pause_s

    def _finish(self, snapshot: Snapshot, done: Done, view: ServiceView | None) -> bool:
        """Write the end of the operation, if one runs; False when the desired state has moved on meanwhile."""
        instance, now = snapshot.instance, self._world.clock()
        with self._world.database.write() as session:
            if instance.delete_requested:
                return outcome.gone(session, self._id, self._token, now)
            assert view is not None, "only a service that answers can be done"
            values = self._results(snapshot, done, view, now)
            if snapshot.unfinished or not snapshot.established:
                return outcome.succeed(session, self._id, self._token, instance.generation, now, values)
            if instance.running_state == "Unknown":
                values["running_state"] = instance.desired["runningState"]
            return self._keep_healthy(session, snapshot, values)

    def _keep_healthy(self, session: Session, snapshot: Snapshot, values: dict[str, Any]) -> bool:
        """Write what a look found where no operation runs; a client's view changed only if more than `due_at` did."""
        row = queries.instance_by_id(session, self._id, lock=True)
        if row is None or row.generation != snapshot.instance.generation:
            return False
        if any(getattr(row, name) != value for name, value in values.items() if name not in _INVISIBLE):
            values["revision"] = row.revision + 1
        return lease.save(session, self._id, self._token, **values)

    def _results(self, snapshot: Snapshot, done: Done, view: ServiceView, now: datetime) -> dict[str, Any]:
        instance, settings = snapshot.instance, self._world.settings
        is_open = view.service.status is ServiceStatus.OPEN
        return {
            "due_at": now + timedelta(milliseconds=LOOK_AGAIN_MS if is_open else LOOK_SOON_MS),
            "app_uri": f"https://{settings.instance_host}:{instance.gateway_port}",
            "identity_service_uri": f"{settings.base_url}/ledgerIdentity/{instance.name}",
            "service_certificate": view.certificate,
            "service_state": view.service.status.value,
            "waiting_for_members": list(done.waiting_for) or None,
        }

    def _fail(self, snapshot: Snapshot, failed: Failed) -> bool:
        instance, now = snapshot.instance, self._world.clock()
        error = {"code": failed.code, "message": failed.message}
        if failed.target:
            error["target"] = failed.target
        with self._world.database.write() as session:
            if snapshot.unfinished or not snapshot.established:
                return outcome.fail(session, self._id, self._token, instance.generation, now, error)
            # The resource is what it was; only nobody can say that it runs.
            if instance.running_state != "Unknown":
                record.add_event(session, snapshot, now, "instance.lost", failed.message, "Error")
            values = {"running_state": "Unknown", "due_at": now + timedelta(milliseconds=LOOK_AGAIN_MS)}
            return self._keep_healthy(session, snapshot, values)

    def _show_progress(self, snapshot: Snapshot, percent: int) -> None:
        operation = snapshot.operation
        if operation is None or operation.ended_at is not None or percent <= operation.percent_complete:
            return
        with self._world.database.write() as session:
            row = queries.operation(session, operation.id)
            if row is not None and row.ended_at is None:
                row.percent_complete = percent

    def _note_refusal(self, snapshot: Snapshot, problem: ActionRefused) -> None:
        """Say once in a turn what only a change of the instance can resolve."""
        text = str(problem)
        if text not in self._told:
            self._told.add(text)
            with self._world.database.write() as session:
                record.add_event(session, snapshot, self._world.clock(), "service.refused", text, "Warning")

    def _await_votes(self, snapshot: Snapshot, problem: AwaitingVotes) -> bool:
        """Members take their time: end the turn, and look again now and then."""
        now = self._world.clock()
        snapshot = self._read() or snapshot
        notes = replace(snapshot.notes, awaited_proposal=problem.proposal_id)
        values: dict[str, Any] = {"due_at": now + timedelta(milliseconds=LOOK_SOON_MS)}
        with self._world.database.write() as session:
            if notes != snapshot.notes:
                values["observed"] = notes.as_json()
                record.add_event(session, snapshot, now, "service.votes_awaited", str(problem), "Warning")
            return self._keep_healthy(session, snapshot, values)

    def _read(self) -> Snapshot | None:
        with self._world.database.read() as session:
            snapshot = record.read_snapshot(session, self._world.settings, self._id)
        if snapshot is not None and snapshot.instance.lease_token != self._token:
            raise LeaseLost
        return snapshot

    def _renew(self) -> None:
        """Long before it ends, and not at every look: each renewal is a write."""
        now, lease_ms = self._world.clock(), self._world.settings.lease_ms
        if now - self._renewed < timedelta(milliseconds=lease_ms / 3):
            return
        with self._world.database.write() as session:
            if not lease.renew(session, self._id, self._token, now, lease_ms):
                raise LeaseLost
        self._renewed = now
