"""How an operation on an instance ends: resource, operation and event in one transaction, where the lease holds.

The resource's state is written before the operation's, and both become visible together, because a client's next
request after `Succeeded` reads the resource (control-plane.md 3.2). Each function returns False, having changed
nothing, when the lease is no longer the caller's: someone newer owns the instance and this result is dropped.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from controlplane.arm.operation import OperationStatus, advance
from controlplane.arm.provisioning import ProvisioningState
from controlplane.store import lease, queries
from controlplane.store.tables import Instance, Operation, ResourceGroup


def succeed(session: Session, instance_id: str, token: str, now: datetime, observed: Mapping[str, Any]) -> bool:
    """The current generation is carried out; `observed` are columns such as `app_uri` and `service_certificate`."""
    instance = queries.instance_by_id(session, instance_id, lock=True)
    if instance is None or not lease.save(session, instance_id, token, **observed):
        return False
    session.refresh(instance)
    instance.observed_generation = instance.generation
    instance.provisioning_state = ProvisioningState.SUCCEEDED
    instance.revision += 1
    _end(session, instance, now, OperationStatus.SUCCEEDED, None)
    return True


def fail(session: Session, instance_id: str, token: str, now: datetime, error: Mapping[str, Any]) -> bool:
    """The current operation cannot be completed; `error` is an ARM error object without secrets."""
    instance = queries.instance_by_id(session, instance_id, lock=True)
    if instance is None or not lease.save(session, instance_id, token, due_at=None):
        return False
    session.refresh(instance)
    instance.provisioning_state = ProvisioningState.FAILED
    instance.revision += 1
    _end(session, instance, now, OperationStatus.FAILED, error)
    if instance.delete_requested:
        _abandon_group(session, instance, now, error)
    return True


def gone(session: Session, instance_id: str, token: str, now: datetime) -> bool:
    """Nothing of the instance is left: its row goes, and with the last member a group that is being deleted."""
    instance = queries.instance_by_id(session, instance_id, lock=True)
    if instance is None or not lease.save(session, instance_id, token, due_at=None):
        return False
    _end(session, instance, now, OperationStatus.SUCCEEDED, None)
    group_id = instance.group_id
    session.flush()
    session.execute(delete(Instance).where(Instance.id == instance_id))
    session.expunge(instance)
    _delete_empty_group(session, group_id, now)
    return True


def end_operation(
    session: Session, operation_id: str | None, now: datetime, status: OperationStatus, error: Mapping[str, Any] | None
) -> Operation | None:
    """Move an unfinished operation to a terminal status; None when there is none to end."""
    operation = None if operation_id is None else queries.operation(session, operation_id)
    if operation is None or operation.ended_at is not None:
        return None
    operation.status = advance(OperationStatus(operation.status), status)
    operation.ended_at = now
    operation.percent_complete = 100 if status == OperationStatus.SUCCEEDED else operation.percent_complete
    operation.error = None if error is None else dict(error)
    return operation


def _end(
    session: Session, instance: Instance, now: datetime, status: OperationStatus, error: Mapping[str, Any] | None
) -> None:
    operation = end_operation(session, instance.operation_id, now, status, error)
    if operation is None:
        return
    queries.add_event(
        session,
        at=now,
        resource_row_id=instance.id,
        resource_id=operation.resource_id,
        kind=f"operation.{status.lower()}",
        level="Error" if error else "Informational",
        message=f"{operation.kind} of instance '{instance.name}': {status}.",
        details=None if error is None else {"error": dict(error)},
        operation_id=operation.id,
        correlation_id=operation.correlation_id,
        caller=operation.caller,
    )


def _delete_empty_group(session: Session, group_id: str, now: datetime) -> None:
    group = session.get(ResourceGroup, group_id, with_for_update=True)
    if group is None or group.delete_operation_id is None or queries.instances_of_group(session, group_id):
        return
    end_operation(session, group.delete_operation_id, now, OperationStatus.SUCCEEDED, None)
    session.delete(group)


def _abandon_group(session: Session, instance: Instance, now: datetime, error: Mapping[str, Any]) -> None:
    """A member that cannot be deleted keeps its group: the group's operation fails with the member's error."""
    group = session.get(ResourceGroup, instance.group_id, with_for_update=True)
    if group is None or group.delete_operation_id is None:
        return
    end_operation(session, group.delete_operation_id, now, OperationStatus.FAILED, error)
    group.provisioning_state = "Succeeded"
    group.delete_operation_id = None
