"""How an operation on an instance ends: resource, operation and event in one transaction, where the lease holds.

The resource's state is written before the operation's, and both become visible together, because a client's next
request after `Succeeded` reads the resource (control-plane.md 3.2). Each function returns False, having changed
nothing, when the lease is no longer the caller's or when the desired state has moved on since it was planned for:
the result is dropped, and the instance looked at again.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from controlplane.arm.operation import OperationStatus, advance
from controlplane.arm.provisioning import ProvisioningState
from controlplane.store import queries
from controlplane.store.tables import Instance, Operation, ResourceGroup


def succeed(
    session: Session, instance_id: str, token: str, generation: int, now: datetime, observed: Mapping[str, Any]
) -> bool:
    """`generation` is carried out; `observed` are columns such as `app_uri` and `service_certificate`."""
    instance = _claim(session, instance_id, token, generation)
    if instance is None:
        return False
    for column, value in observed.items():
        setattr(instance, column, value)
    instance.observed_generation = generation
    instance.running_state = instance.desired["runningState"]
    instance.provisioning_state = ProvisioningState.SUCCEEDED
    instance.revision += 1
    _end(session, instance, now, OperationStatus.SUCCEEDED, None)
    return True


def fail(
    session: Session, instance_id: str, token: str, generation: int, now: datetime, error: Mapping[str, Any]
) -> bool:
    """The current operation cannot be completed; `error` is an ARM error object without secrets."""
    group = _group_of(session, instance_id)
    instance = _claim(session, instance_id, token, generation)
    if instance is None:
        return False
    instance.provisioning_state = ProvisioningState.FAILED
    instance.due_at = None
    instance.revision += 1
    _end(session, instance, now, OperationStatus.FAILED, error)
    if instance.delete_requested:
        _abandon_group(session, group, now, error)
    return True


def gone(session: Session, instance_id: str, token: str, now: datetime) -> bool:
    """Nothing of a deleted instance is left: its row goes, and with the last member a group that is being deleted."""
    group = _group_of(session, instance_id)
    instance = queries.instance_by_id(session, instance_id, lock=True)
    if instance is None or instance.lease_token != token or not instance.delete_requested:
        return False
    _end(session, instance, now, OperationStatus.SUCCEEDED, None)
    session.delete(instance)
    session.flush()
    _delete_empty_group(session, group, now)
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


def _claim(session: Session, instance_id: str, token: str, generation: int) -> Instance | None:
    instance = queries.instance_by_id(session, instance_id, lock=True)
    if instance is None or instance.lease_token != token or instance.generation != generation:
        return None
    return instance


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


def _group_of(session: Session, instance_id: str) -> ResourceGroup | None:
    """The instance's group, locked. The API locks group before instance too, so that the two never wait in a circle."""
    instance = queries.instance_by_id(session, instance_id)
    return None if instance is None else session.get(ResourceGroup, instance.group_id, with_for_update=True)


def _delete_empty_group(session: Session, group: ResourceGroup | None, now: datetime) -> None:
    if group is None or group.delete_operation_id is None or queries.instances_of_group(session, group.id):
        return
    end_operation(session, group.delete_operation_id, now, OperationStatus.SUCCEEDED, None)
    session.delete(group)


def _abandon_group(session: Session, group: ResourceGroup | None, now: datetime, error: Mapping[str, Any]) -> None:
    """A member that cannot be deleted keeps its group: the group's operation fails with the member's error."""
    if group is None or group.delete_operation_id is None:
        return
    end_operation(session, group.delete_operation_id, now, OperationStatus.FAILED, error)
    group.provisioning_state = "Succeeded"
    group.delete_operation_id = None
