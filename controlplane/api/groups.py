"""Resource groups, and the generic lists of resources (control-plane.md 7)."""

from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import Response

from controlplane.api.answers import ArmJson
from controlplane.api.call import CallOf
from controlplane.api.managed_ccfs import wake
from controlplane.api.operations import operation_headers
from controlplane.api.routing import GroupName, arm_router
from controlplane.api.schemas import Group, GroupCreate, GroupList, GroupUpdate, ObjectList
from controlplane.api.services import Services, ServicesOf
from controlplane.api.views import group_view, instance_view
from controlplane.api.writes import Write, delete_instance, existing_group, live_group, new_operation
from controlplane.arm import validation
from controlplane.arm.filter import matches, parse_filter
from controlplane.arm.operation import OperationKind, OperationStatus
from controlplane.arm.resource_id import INSTANCE_RESOURCE_TYPE, group_id
from controlplane.errors import ErrorDetail, conflict
from controlplane.store import queries
from controlplane.store.outcome import end_operation
from controlplane.store.session import once_more
from controlplane.store.tables import Instance, Operation, ResourceGroup

COLLECTION = "/subscriptions/{subscriptionId}/resourceGroups"
RESOURCE = COLLECTION + "/{resourceGroupName}"
_FILTER_FIELDS = {"resourcegroup": "resourceGroup", "resourcetype": "resourceType", "name": "name"}

Filter = Annotated[str | None, Query(alias="$filter")]

router = arm_router(subscription=True)


@router.get(COLLECTION, response_model=GroupList, name="ResourceGroups_List")
def list_groups(services: ServicesOf, filter_: Filter = None) -> Response:
    terms = parse_filter(filter_, {"name": "name", "location": "location"}) if filter_ else {}
    with services.database.read() as session:
        rows = queries.groups(session, services.settings.subscription_id)
    chosen = [row for row in rows if matches(terms, {"name": row.name, "location": row.location}, row.tags)]
    return ArmJson({"value": [group_view(row) for row in chosen]})


@router.get(RESOURCE, response_model=Group, name="ResourceGroups_Get")
def get(services: ServicesOf, group: GroupName) -> Response:
    with services.database.read() as session:
        return ArmJson(group_view(existing_group(session, services.settings, group)))


@router.head(
    RESOURCE, status_code=204, responses={404: {"description": "There is none."}}, name="ResourceGroups_CheckExistence"
)
def head(services: ServicesOf, group: GroupName) -> Response:
    with services.database.read() as session:
        found = queries.group_by_name(session, services.settings.subscription_id, group) is not None
    return Response(status_code=204 if found else 404)


@router.put(
    RESOURCE,
    response_model=Group,
    responses={201: {"model": Group, "description": "It was made."}},
    name="ResourceGroups_CreateOrUpdate",
)
def put(services: ServicesOf, group: GroupName, body: GroupCreate) -> Response:
    problem = validation.group_name_problem(group)
    problems = [ErrorDetail("InvalidResourceGroup", problem, "resourceGroupName")] if problem else []
    validation.raise_problems([*problems, *validation.tag_problems(body.tags or {})])
    return once_more(lambda: _put(services, group, body))


@router.patch(RESOURCE, response_model=Group, name="ResourceGroups_Update")
def patch(services: ServicesOf, group: GroupName, body: GroupUpdate) -> Response:
    validation.raise_problems(validation.tag_problems(body.tags or {}))
    with services.database.write() as session:
        row = live_group(session, services.settings, group, lock=True)
        if body.tags is not None:
            row.tags, row.modified_at = body.tags, services.clock()
        return ArmJson(group_view(row))


@router.delete(
    RESOURCE,
    status_code=202,
    responses={200: {"description": "It was empty and is gone."}},
    name="ResourceGroups_Delete",
)
def delete(services: ServicesOf, call: CallOf, group: GroupName) -> Response:
    """The members go first; the last of them takes the group with it (control-plane.md 4.10)."""
    with services.database.write() as session:
        row = existing_group(session, services.settings, group, lock=True)
        members = queries.instances_of_group(session, row.id)
        write = Write(session, services.settings, call, services.clock())
        operation = _begin_delete(write, row)
        for member in members:
            delete_instance(write, member)
        if not members:
            end_operation(session, operation.id, write.now, OperationStatus.SUCCEEDED, None)
            session.delete(row)
    for member in members:
        wake(services, member.id)
    if not members:
        return Response(status_code=200)
    return Response(status_code=202, headers=operation_headers(services.settings, call, operation, location=True))


@router.get("/subscriptions/{subscriptionId}/resources", response_model=ObjectList, name="Resources_List")
def list_resources(services: ServicesOf, filter_: Filter = None) -> Response:
    with services.database.read() as session:
        rows = list(queries.instances_of_subscription(session, services.settings.subscription_id))
    return _resources(rows, filter_)


@router.get(f"{RESOURCE}/resources", response_model=ObjectList, name="Resources_ListByResourceGroup")
def list_resources_of_group(services: ServicesOf, group: GroupName, filter_: Filter = None) -> Response:
    with services.database.read() as session:
        row = existing_group(session, services.settings, group)
        rows = list(queries.instances_of_group(session, row.id))
    return _resources(rows, filter_)


def _put(services: Services, name: str, body: GroupCreate) -> Response:
    with services.database.write() as session:
        row = queries.group_by_name(session, services.settings.subscription_id, name, lock=True)
        if row is None:
            row = _new_group(services, name, body)
            session.add(row)
            return ArmJson(group_view(row), 201)
        row = live_group(session, services.settings, name, lock=True)
        if body.location is not None and validation.normalise_location(body.location) != row.location:
            message = f"The resource group is in location '{row.location}', which cannot change."
            raise conflict("InvalidResourceGroupLocation", message, "location")
        row.name, row.tags, row.modified_at = name, body.tags or {}, services.clock()
        return ArmJson(group_view(row))


def _new_group(services: Services, name: str, body: GroupCreate) -> ResourceGroup:
    validation.raise_problems(validation.location_problems(body.location, services.settings.locations))
    now = services.clock()
    return ResourceGroup(
        id=queries.new_id(),
        subscription_id=services.settings.subscription_id,
        name=name,
        name_key=name.lower(),
        location=validation.normalise_location(body.location or ""),
        tags=body.tags or {},
        provisioning_state="Succeeded",
        created_at=now,
        modified_at=now,
    )


def _begin_delete(write: Write, group: ResourceGroup) -> Operation:
    """The group's delete operation: the one already under way, or a new one."""
    if group.delete_operation_id is not None:
        running = queries.operation(write.session, group.delete_operation_id)
        if running is not None and running.ended_at is None:
            return running
    resource_id = group_id(group.subscription_id, group.name)
    operation = new_operation(write, group.id, resource_id, group.location, OperationKind.DELETE_GROUP, 0)
    group.provisioning_state = "Deleting"
    group.delete_operation_id = operation.id
    group.modified_at = write.now
    queries.add_event(
        write.session,
        at=write.now,
        resource_row_id=group.id,
        resource_id=resource_id,
        kind="group.delete.requested",
        message=f"Deletion of resource group '{group.name}' requested.",
        operation_id=operation.id,
        correlation_id=write.call.correlation_id,
        caller=write.call.caller.object_id,
    )
    write.session.flush()
    return operation


def _resources(rows: list[Instance], filter_: str | None) -> Response:
    terms = parse_filter(filter_, _FILTER_FIELDS) if filter_ else {}
    chosen = [row for row in rows if matches(terms, _filter_values(row), row.tags)]
    return ArmJson({"value": [_generic(row) for row in chosen]})


def _filter_values(instance: Instance) -> dict[str, str]:
    return {"resourceGroup": instance.group_name, "resourceType": INSTANCE_RESOURCE_TYPE, "name": instance.name}


def _generic(instance: Instance) -> dict[str, Any]:
    view = instance_view(instance)
    times = {"createdTime": view["systemData"]["createdAt"], "changedTime": view["systemData"]["lastModifiedAt"]}
    generic = {name: view[name] for name in ("id", "name", "type", "location", "tags", "systemData")}
    return generic | times | {"provisioningState": instance.provisioning_state}
