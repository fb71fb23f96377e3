"""What a write does to the database: one transaction that stores desired state, an operation and an event.

Each function is called inside `Database.write()`; the caller tells the worker after the commit. All of them may be
received twice: a repeated request finds its work done and gets the same operation (control-plane.md 4.6).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from controlplane.api.call import Call
from controlplane.api.schemas import EnclavePlatform, LanguageRuntime, ManagedCcfProperties, ManagedCcfUpdate
from controlplane.api.views import etag, instance_resource_id
from controlplane.arm import provisioning, validation
from controlplane.arm.operation import FIRST_STATUS, OperationKind, OperationStatus
from controlplane.arm.provisioning import ProvisioningState, RunningState
from controlplane.errors import ArmError, ErrorDetail, conflict, not_found
from controlplane.settings import Settings
from controlplane.store import queries
from controlplane.store.outcome import end_operation
from controlplane.store.tables import Instance, Operation, ResourceGroup

# From this version on the platform is the server's to say (control-plane.md 1.1).
_PLATFORM_READ_ONLY_SINCE = "2025-06-10"


@dataclass(frozen=True, slots=True)
class Written:
    """The instance after a write, its operation, and whether a worker has something to do."""

    instance: Instance
    operation: Operation | None
    wake: bool


@dataclass(frozen=True, slots=True)
class Write:
    """What all writes of one request share."""

    session: Session
    settings: Settings
    call: Call
    now: datetime


def put_instance(
    write: Write, group_name: str, name: str, body: ManagedCcfUpdate, precondition: "Precondition"
) -> Written:
    """Create or replace an instance's desired state (control-plane.md 1.5). Raises `ArmError`."""
    _check_put(write, name, body)
    group = live_group(write.session, write.settings, group_name, lock=True)
    instance = queries.instance_by_name(write.session, name, lock=True)
    precondition.check(instance)
    if instance is None:
        desired = _desired(body.properties, {}, write.call.api_version)
        validation.raise_problems(_new_problems(write, desired))
        return _create(write, group, group_name, name, body, desired)
    if instance.group_id != group.id:
        raise conflict("ResourceNameNotAvailable", f"The name '{name}' is taken by another resource group's instance.")
    return _replace(write, instance, group_name, name, body)


def patch_instance(write: Write, instance: Instance, body: ManagedCcfUpdate) -> Written:
    """Merge a PATCH into the desired state; tags are replaced whole (control-plane.md 1.5)."""
    if body.location is not None and validation.normalise_location(body.location) != instance.location:
        raise _other_location()
    validation.raise_problems(validation.tag_problems(body.tags or {}))
    _refuse_unless_settled(instance)
    desired = _merged(instance.desired, body.properties, write.call.api_version)
    _check_change(write, instance, desired)
    tags = instance.tags if body.tags is None else body.tags
    if (desired, tags) == (instance.desired, instance.tags):
        return Written(instance, _last_operation(write, instance), wake=False)
    return _change_in_place(write, instance, desired, tags)


def delete_instance(write: Write, instance: Instance) -> Written:
    """Ask for an instance's end, cancelling whatever is under way. A second request joins the first."""
    operation = _last_operation(write, instance)
    if instance.provisioning_state == ProvisioningState.DELETING and operation is not None:
        return Written(instance, operation, wake=True)
    state = provisioning.advance(ProvisioningState(instance.provisioning_state), ProvisioningState.DELETING)
    error = {"code": "Canceled", "message": "The operation was canceled because the resource is being deleted."}
    end_operation(write.session, instance.operation_id, write.now, OperationStatus.CANCELED, error)
    instance.delete_requested = True
    instance.generation += 1
    operation = _begin(write, instance, OperationKind.DELETE, state)
    _note(write, instance, operation, "instance.delete.requested", f"Deletion of instance '{instance.name}' requested.")
    return Written(instance, operation, wake=True)


def live_group(session: Session, settings: Settings, name: str, *, lock: bool = False) -> ResourceGroup:
    """A group that exists and is not going away. Raises 404 or 409."""
    group = existing_group(session, settings, name, lock=lock)
    if group.provisioning_state == "Deleting":
        raise conflict("ResourceGroupBeingDeleted", f"The resource group '{group.name}' is being deleted.")
    return group


def existing_group(session: Session, settings: Settings, name: str, *, lock: bool = False) -> ResourceGroup:
    group = queries.group_by_name(session, settings.subscription_id, name, lock=lock)
    if group is None:
        raise not_found("ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
    return group


def new_operation(
    write: Write, row_id: str, resource_id: str, location: str, kind: OperationKind, generation: int
) -> Operation:
    operation = Operation(
        id=queries.new_id(),
        resource_row_id=row_id,
        resource_id=resource_id,
        location=location,
        kind=kind,
        status=FIRST_STATUS[kind],
        generation=generation,
        percent_complete=0,
        started_at=write.now,
        caller=write.call.caller.object_id,
        client_request_id=write.call.client_request_id,
        correlation_id=write.call.correlation_id,
    )
    write.session.add(operation)
    return operation


@dataclass(frozen=True, slots=True)
class Precondition:
    """`If-Match` and `If-None-Match` (control-plane.md 4.4)."""

    if_match: str | None = None
    if_none_match: str | None = None

    def check(self, instance: Instance | None) -> None:
        """Raises 412 `PreconditionFailed`."""
        if self.if_none_match and instance is not None and _lists(self.if_none_match, etag(instance)):
            raise ArmError(
                412, "PreconditionFailed", "The resource exists already in a version that If-None-Match names."
            )
        if self.if_match and (instance is None or not _lists(self.if_match, etag(instance))):
            raise ArmError(412, "PreconditionFailed", "The resource is not in a version that If-Match names.")


def _lists(header: str, tag: str) -> bool:
    return header.strip() == "*" or tag in [part.strip() for part in header.split(",")]


def _check_put(write: Write, name: str, body: ManagedCcfUpdate) -> None:
    """Everything wrong with the request by itself, before any resource is looked at."""
    problem = validation.name_problem(name)
    problems = [ErrorDetail("InvalidResourceName", problem, "name")] if problem else []
    problems += validation.location_problems(body.location, write.settings.locations)
    validation.raise_problems([*problems, *validation.tag_problems(body.tags or {})])


def _new_problems(write: Write, desired: Mapping[str, Any]) -> list[ErrorDetail]:
    """What is wrong with the desired state of a service that never lived."""
    problems = _desired_problems(write, desired)
    if not problems and desired["runningState"] != RunningState.ACTIVE:
        message = "A new service is created with runningState Active."
        problems.append(ErrorDetail("InvalidParameter", message, "properties.runningState"))
    return problems


def _desired_problems(write: Write, desired: Mapping[str, Any]) -> list[ErrorDetail]:
    return validation.desired_problems(desired, allow_single_node=write.settings.allow_single_node)


def _create(
    write: Write, group: ResourceGroup, group_name: str, name: str, body: ManagedCcfUpdate, desired: dict[str, Any]
) -> Written:
    caller = write.call.caller
    instance = Instance(
        id=queries.new_id(),
        group_id=group.id,
        subscription_id=group.subscription_id,
        group_name=group_name,
        name=name,
        name_key=name.lower(),
        location=validation.normalise_location(body.location or ""),
        tags=body.tags or {},
        desired=desired,
        generation=1,
        delete_requested=False,
        revision=0,
        created_by=caller.name,
        created_by_type=caller.kind,
        created_at=write.now,
        running_state=RunningState.UNKNOWN,
        observed_generation=0,
        next_ordinal=0,
    )
    operation = _begin(write, instance, OperationKind.CREATE, ProvisioningState.CREATING)
    write.session.add(instance)
    message = f"Instance '{name}' with {desired['nodeCount']} nodes requested."
    _note(write, instance, operation, "instance.create.requested", message, {"nodeCount": desired["nodeCount"]})
    return Written(instance, operation, wake=True)


def _replace(write: Write, instance: Instance, group_name: str, name: str, body: ManagedCcfUpdate) -> Written:
    if validation.normalise_location(body.location or "") != instance.location:
        raise _other_location()
    desired = _desired(body.properties, instance.desired, write.call.api_version)
    tags = body.tags or {}
    same = (desired, tags) == (instance.desired, instance.tags)
    if _is_changing(instance) and (not same or instance.provisioning_state == ProvisioningState.DELETING):
        raise _busy(instance)
    instance.group_name, instance.name = group_name, name
    if same and not _wants_retry(write, instance):
        return Written(instance, _last_operation(write, instance), wake=_is_changing(instance))
    _check_change(write, instance, desired)
    if _is_settled(instance):
        return _change_in_place(write, instance, desired, tags)
    return _retry(write, instance, desired, tags)


def _change_in_place(write: Write, instance: Instance, desired: dict[str, Any], tags: dict[str, str]) -> Written:
    """A change that no node needs to hear of: it is done when it is stored, and its operation is over at once."""
    before = instance.tags
    instance.desired, instance.tags = desired, tags
    operation = _begin(write, instance, OperationKind.UPDATE, None)
    end_operation(write.session, operation.id, write.now, OperationStatus.SUCCEEDED, None)
    details = {"tagsBefore": before, "tagsAfter": tags}
    _note(write, instance, operation, "instance.updated", f"Instance '{instance.name}' updated.", details)
    return Written(instance, operation, wake=False)


def _retry(write: Write, instance: Instance, desired: dict[str, Any], tags: dict[str, str]) -> Written:
    """A PUT on an instance whose last operation failed: try again with what is wanted now (control-plane.md 1.5)."""
    alive = instance.observed_generation > 0
    target = ProvisioningState.UPDATING if alive else ProvisioningState.CREATING
    kind = OperationKind.UPDATE if alive else OperationKind.CREATE
    instance.desired, instance.tags = desired, tags
    instance.generation += 1
    instance.delete_requested = False
    state = provisioning.advance(ProvisioningState(instance.provisioning_state), target)
    operation = _begin(write, instance, kind, state)
    _note(
        write, instance, operation, "instance.retry.requested", f"Another try for instance '{instance.name}' requested."
    )
    return Written(instance, operation, wake=True)


def _begin(write: Write, instance: Instance, kind: OperationKind, state: ProvisioningState | None) -> Operation:
    """Start an operation; `state` None is a change that leaves the instance settled."""
    operation = new_operation(
        write, instance.id, instance_resource_id(instance), instance.location, kind, instance.generation
    )
    if state is not None:
        instance.provisioning_state = state
        instance.due_at = write.now
    instance.operation_id = operation.id
    instance.revision += 1
    instance.modified_by = write.call.caller.name
    instance.modified_by_type = write.call.caller.kind
    instance.modified_at = write.now
    write.session.flush()
    return operation


def _note(
    write: Write,
    instance: Instance,
    operation: Operation,
    kind: str,
    message: str,
    details: Mapping[str, Any] | None = None,
) -> None:
    queries.add_event(
        write.session,
        at=write.now,
        resource_row_id=instance.id,
        resource_id=instance_resource_id(instance),
        kind=kind,
        message=message,
        details=details,
        operation_id=operation.id,
        correlation_id=write.call.correlation_id,
        caller=write.call.caller.object_id,
    )


def _last_operation(write: Write, instance: Instance) -> Operation | None:
    return None if instance.operation_id is None else queries.operation(write.session, instance.operation_id)


def _wants_retry(write: Write, instance: Instance) -> bool:
    """Whether an identical PUT asks for another try: the last one failed, and this is not a late copy of it."""
    if instance.provisioning_state not in (ProvisioningState.FAILED, ProvisioningState.CANCELED):
        return False
    attempt = write.call.client_request_id
    return attempt is None or queries.operation_of_attempt(write.session, instance.id, attempt) is None


def _check_change(write: Write, instance: Instance, desired: Mapping[str, Any]) -> None:
    """What is wanted must be legal by itself and, of a service that lives, possible."""
    if instance.observed_generation == 0:
        validation.raise_problems(_new_problems(write, desired))
    elif desired != instance.desired:
        validation.raise_problems(_desired_problems(write, desired))
        validation.raise_problems(validation.change_problems(instance.desired, desired), status=409)


def _is_settled(instance: Instance) -> bool:
    return instance.provisioning_state == ProvisioningState.SUCCEEDED


def _is_changing(instance: Instance) -> bool:
    return ProvisioningState(instance.provisioning_state) not in provisioning.TERMINAL


def _refuse_unless_settled(instance: Instance) -> None:
    if _is_changing(instance):
        raise _busy(instance)
    if instance.observed_generation == 0:
        message = "The resource was not created successfully. Repeat its PUT to try again, or delete it."
        raise conflict("Conflict", message)


def _busy(instance: Instance) -> ArmError:
    message = f"The resource is in state '{instance.provisioning_state}'. Wait for the operation to end."
    return conflict("AnotherOperationInProgress", message)


def _other_location() -> ArmError:
    return conflict("InvalidResourceLocation", "The location of a resource cannot change.", "location")


def _desired(properties: ManagedCcfProperties | None, old: Mapping[str, Any], api_version: str) -> dict[str, Any]:
    """A PUT's desired state: what it leaves out gets its default, except the platform, which was fixed at creation."""
    defaults = {
        "nodeCount": 3,
        "deploymentType": {"languageRuntime": str(LanguageRuntime.JS), "appSourceUri": validation.CUSTOM_IMAGE},
        "memberIdentityCertificates": [],
        "runningState": str(RunningState.ACTIVE),
        "enclavePlatform": old.get("enclavePlatform", str(EnclavePlatform.INTEL_SGX)),
    }
    return _merged(defaults, properties, api_version)


def _merged(old: Mapping[str, Any], properties: ManagedCcfProperties | None, api_version: str) -> dict[str, Any]:
    given = {} if properties is None else properties.model_dump(mode="json", exclude_none=True)
    if api_version >= _PLATFORM_READ_ONLY_SINCE:
        given.pop("enclavePlatform", None)
    deployment = {**old["deploymentType"], **given.pop("deploymentType", {})}
    return {**old, **given, "deploymentType": deployment}
