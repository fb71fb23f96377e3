"""Every SELECT with a name, and the few inserts that several writers share. A session is always the caller's."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from controlplane.store.tables import (
    Event,
    Instance,
    Node,
    Operation,
    Principal,
    Registration,
    ResourceGroup,
    Zone,
)


def group_by_name(session: Session, subscription_id: str, name: str, *, lock: bool = False) -> ResourceGroup | None:
    query = select(ResourceGroup).where(
        ResourceGroup.subscription_id == subscription_id, ResourceGroup.name_key == name.lower()
    )
    return session.scalars(_locked(query) if lock else query).one_or_none()


def groups(session: Session, subscription_id: str) -> Sequence[ResourceGroup]:
    query = select(ResourceGroup).where(ResourceGroup.subscription_id == subscription_id)
    return session.scalars(query.order_by(ResourceGroup.name_key)).all()


def instance_by_id(session: Session, instance_id: str, *, lock: bool = False) -> Instance | None:
    query = select(Instance).where(Instance.id == instance_id)
    return session.scalars(_locked(query) if lock else query).one_or_none()


def instance_by_name(session: Session, name: str, *, lock: bool = False) -> Instance | None:
    """The instance of that name anywhere in the installation: names are global (control-plane.md 1.4)."""
    query = select(Instance).where(Instance.name_key == name.lower())
    return session.scalars(_locked(query) if lock else query).one_or_none()


def instances_of_group(session: Session, group_id: str) -> Sequence[Instance]:
    query = select(Instance).where(Instance.group_id == group_id).order_by(Instance.name_key)
    return session.scalars(query).all()


def instances_of_subscription(session: Session, subscription_id: str) -> Sequence[Instance]:
    query = select(Instance).where(Instance.subscription_id == subscription_id).order_by(Instance.name_key)
    return session.scalars(query).all()


def due_instances(session: Session, now: datetime, limit: int) -> Sequence[str]:
    """Ids that the sweep must dispatch: due, and held by nobody or by someone whose lease has run out."""
    free = or_(Instance.lease_until.is_(None), Instance.lease_until <= now)
    query = select(Instance.id).where(Instance.due_at <= now, free).order_by(Instance.due_at).limit(limit)
    return session.scalars(query).all()


def live_instances(session: Session) -> Sequence[Instance]:
    """Instances that were created successfully once and are not being deleted: their nodes ought to run."""
    query = select(Instance).where(Instance.observed_generation > 0, Instance.delete_requested.is_(False))
    return session.scalars(query.order_by(Instance.name_key)).all()


def routed_instances(session: Session) -> Sequence[Instance]:
    """Instances that have a port at the gateway."""
    return session.scalars(select(Instance).where(Instance.gateway_port.is_not(None))).all()


def nodes_of_instance(session: Session, instance_id: str) -> Sequence[Node]:
    return session.scalars(select(Node).where(Node.instance_id == instance_id).order_by(Node.ordinal)).all()


def zones(session: Session) -> Sequence[Zone]:
    return session.scalars(select(Zone).order_by(Zone.ordinal)).all()


def operation(session: Session, operation_id: str) -> Operation | None:
    return session.get(Operation, operation_id)


def unfinished_operations(session: Session, resource_row_id: str) -> Sequence[Operation]:
    query = select(Operation).where(Operation.resource_row_id == resource_row_id, Operation.ended_at.is_(None))
    return session.scalars(query.order_by(Operation.started_at)).all()


def operation_of_attempt(session: Session, resource_row_id: str, client_request_id: str) -> Operation | None:
    """The operation that an earlier copy of the same request began (control-plane.md 4.6)."""
    query = select(Operation).where(
        Operation.resource_row_id == resource_row_id, Operation.client_request_id == client_request_id
    )
    return session.scalars(query.order_by(Operation.started_at.desc())).first()


def forget_operations(session: Session, ended_before: datetime) -> None:
    """Drop operations that ended long enough ago (control-plane.md 3.2: at least 24 h)."""
    session.execute(delete(Operation).where(Operation.ended_at < ended_before))


def events_after(session: Session, resource_row_id: str, sequence: int, limit: int) -> Sequence[Event]:
    query = select(Event).where(Event.resource_row_id == resource_row_id, Event.sequence > sequence)
    return session.scalars(query.order_by(Event.sequence).limit(limit)).all()


def principal(session: Session, app_id: str) -> Principal | None:
    return session.get(Principal, app_id)


def principal_count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Principal)) or 0


def registration_state(session: Session, subscription_id: str, name: str) -> str:
    """`Registered` unless a client said otherwise: an installation of one provider needs no ceremony."""
    row = session.get(Registration, (subscription_id, name.lower()))
    return "Registered" if row is None else row.state


def set_registration(session: Session, subscription_id: str, name: str, state: str) -> None:
    session.merge(Registration(subscription_id=subscription_id, name_key=name.lower(), state=state))


def add_event(
    session: Session,
    *,
    at: datetime,
    resource_row_id: str,
    resource_id: str,
    kind: str,
    message: str,
    level: str = "Informational",
    details: Mapping[str, Any] | None = None,
    operation_id: str | None = None,
    correlation_id: str | None = None,
    caller: str | None = None,
) -> None:
    """Append one event; it becomes visible with the transaction that caused it."""
    session.add(
        Event(
            at=at,
            resource_row_id=resource_row_id,
            resource_id=resource_id,
            kind=kind,
            message=message,
            level=level,
            details=None if details is None else dict(details),
            operation_id=operation_id,
            correlation_id=correlation_id,
            caller=caller,
        )
    )


def new_id() -> str:
    return str(uuid.uuid4())


def _locked(query: Any) -> Any:
    """For the rest of the transaction, and as the row is now: what this session read of it before may be old."""
    return query.with_for_update().execution_options(populate_existing=True)
