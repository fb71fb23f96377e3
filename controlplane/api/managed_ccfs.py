"""The managedCCFs resource: PUT, PATCH, GET, HEAD, DELETE, both lists and the name check (control-plane.md 1.2)."""

import logging
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Header, Query, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from controlplane.api.answers import ArmJson
from controlplane.api.arm_headers import MANAGED_CCF_VERSIONS
from controlplane.api.call import Call, CallOf
from controlplane.api.operations import operation_headers
from controlplane.api.routing import GroupName, InstanceName, arm_router
from controlplane.api.schemas import (
    ManagedCcf,
    ManagedCcfCreate,
    ManagedCcfList,
    ManagedCcfUpdate,
    NameCheck,
    NameCheckResult,
)
from controlplane.api.services import Services, ServicesOf
from controlplane.api.views import etag, instance_view
from controlplane.api.writes import (
    Precondition,
    Write,
    Written,
    delete_instance,
    existing_group,
    live_group,
    patch_instance,
    put_instance,
)
from controlplane.arm import validation
from controlplane.arm.filter import decode_cursor, encode_cursor, matches, parse_filter
from controlplane.arm.resource_id import INSTANCE_RESOURCE_TYPE, NAMESPACE
from controlplane.errors import bad_request, conflict, not_found
from controlplane.store import queries
from controlplane.store.session import once_more
from controlplane.store.tables import Instance

PROVIDER = f"/subscriptions/{{subscriptionId}}/providers/{NAMESPACE}"
COLLECTION = f"/subscriptions/{{subscriptionId}}/resourceGroups/{{resourceGroupName}}/providers/{NAMESPACE}/managedCCFs"
RESOURCE = COLLECTION + "/{appName}"
PAGE_SIZE = 100
NAMED_TYPES = (INSTANCE_RESOURCE_TYPE.lower(), f"{NAMESPACE}/ledgers".lower())
_FILTER_FIELDS = {
    name.lower(): name for name in ("name", "location", "runningState", "provisioningState", "ledgerType")
}

router = arm_router(subscription=True, versions=MANAGED_CCF_VERSIONS)
_LOG = logging.getLogger("mccf.api")


def precondition_of(
    if_match: Annotated[str | None, Header()] = None, if_none_match: Annotated[str | None, Header()] = None
) -> Precondition:
    return Precondition(if_match, if_none_match)


def group_must_exist(group: GroupName, services: ServicesOf) -> None:
    """Registration and resource group come before the body (control-plane.md 5.3, order of validation)."""
    with services.database.read() as session:
        check_registered(session, services)
        live_group(session, services.settings, group)


PreconditionOf = Annotated[Precondition, Depends(precondition_of)]


@router.put(
    RESOURCE,
    status_code=201,
    response_model=ManagedCcf,
    name="ManagedCCF_Create",
    dependencies=[Depends(group_must_exist)],
)
def put(
    services: ServicesOf,
    call: CallOf,
    group: GroupName,
    name: InstanceName,
    precondition: PreconditionOf,
    body: ManagedCcfCreate,
) -> Response:
    def store() -> Written:
        with services.database.write() as session:
            write = Write(session, services.settings, call, services.clock())
            return put_instance(write, group, name, body, precondition)

    written = once_more(store)
    _wake(services, written)
    return ArmJson(instance_view(written.instance), 201, _headers(services, call, written))


@router.patch(RESOURCE, response_model=ManagedCcf, name="ManagedCCF_Update", dependencies=[Depends(group_must_exist)])
def patch(
    services: ServicesOf,
    call: CallOf,
    group: GroupName,
    name: InstanceName,
    precondition: PreconditionOf,
    body: ManagedCcfUpdate,
) -> Response:
    with services.database.write() as session:
        live_group(session, services.settings, group, lock=True)
        instance = existing_instance(session, services, group, name, lock=True)
        precondition.check(instance)
        write = Write(session, services.settings, call, services.clock())
        written = patch_instance(write, instance, body)
    return ArmJson(instance_view(written.instance), 200, {"ETag": etag(written.instance)})


@router.get(RESOURCE, response_model=ManagedCcf, name="ManagedCCF_Get")
def get(services: ServicesOf, group: GroupName, name: InstanceName) -> Response:
    with services.database.read() as session:
        existing_group(session, services.settings, group)
        instance = existing_instance(session, services, group, name)
    return ArmJson(instance_view(instance), headers={"ETag": etag(instance)})


@router.head(RESOURCE, status_code=204, name="ManagedCCF_CheckExistence")
def head(services: ServicesOf, group: GroupName, name: InstanceName) -> Response:
    with services.database.read() as session:
        existing_group(session, services.settings, group)
        instance = existing_instance(session, services, group, name)
    return Response(status_code=204, headers={"ETag": etag(instance)})


@router.delete(
    RESOURCE, status_code=202, responses={204: {"description": "It does not exist."}}, name="ManagedCCF_Delete"
)
def delete(
    services: ServicesOf, call: CallOf, group: GroupName, name: InstanceName, precondition: PreconditionOf
) -> Response:
    with services.database.write() as session:
        existing_group(session, services.settings, group, lock=True)
        instance = _find(session, services, group, name, lock=True)
        if instance is None:
            return Response(status_code=204)
        precondition.check(instance)
        written = delete_instance(Write(session, services.settings, call, services.clock()), instance)
    _wake(services, written)
    assert written.operation is not None
    headers = operation_headers(services.settings, call, written.operation, location=True)
    return Response(status_code=202, headers=headers)


@router.get(COLLECTION, response_model=ManagedCcfList, name="ManagedCCF_ListByResourceGroup")
def list_by_group(
    request: Request,
    services: ServicesOf,
    call: CallOf,
    group: GroupName,
    filter_: Annotated[str | None, Query(alias="$filter")] = None,
    skip_token: Annotated[str | None, Query(alias="$skipToken")] = None,
) -> Response:
    with services.database.read() as session:
        row = existing_group(session, services.settings, group)
        instances = queries.instances_of_group(session, row.id)
    return _page(request, call, instances, filter_, skip_token)


@router.get(f"{PROVIDER}/managedCCFs", response_model=ManagedCcfList, name="ManagedCCF_ListBySubscription")
def list_by_subscription(
    request: Request,
    services: ServicesOf,
    call: CallOf,
    filter_: Annotated[str | None, Query(alias="$filter")] = None,
    skip_token: Annotated[str | None, Query(alias="$skipToken")] = None,
) -> Response:
    with services.database.read() as session:
        instances = queries.instances_of_subscription(session, services.settings.subscription_id)
    return _page(request, call, instances, filter_, skip_token)


@router.post(f"{PROVIDER}/checkNameAvailability", response_model=NameCheckResult, name="CheckNameAvailability")
def check_name(services: ServicesOf, body: NameCheck) -> Response:
    if body.type.lower() not in NAMED_TYPES:
        raise bad_request("InvalidParameter", f"The type must be {INSTANCE_RESOURCE_TYPE}.", "type")
    problem = validation.name_problem(body.name)
    if problem:
        return ArmJson({"nameAvailable": False, "reason": "Invalid", "message": problem})
    with services.database.read() as session:
        taken = queries.instance_by_name(session, body.name) is not None
    if taken:
        message = f"The name '{body.name}' is already in use."
        return ArmJson({"nameAvailable": False, "reason": "AlreadyExists", "message": message})
    return ArmJson({"nameAvailable": True})


def check_registered(session: Session, services: Services) -> None:
    """Raises the 409 whose quoted end tells SDKs what to register (control-plane.md 5.3)."""
    subscription = services.settings.subscription_id
    if queries.registration_state(session, subscription, NAMESPACE) != "Registered":
        message = f"The subscription is not registered to use namespace '{NAMESPACE}'"
        raise conflict("MissingSubscriptionRegistration", message)


def wake(services: Services, instance_id: str) -> None:
    """Hint at work. Whatever goes wrong with the hint, the sweep finds the row (decisions 16)."""
    try:
        services.notify(instance_id)
    except Exception:
        _LOG.warning("the worker could not be told; the sweep will find the instance", exc_info=True)


def _wake(services: Services, written: Written) -> None:
    if written.wake:
        wake(services, written.instance.id)


def _headers(services: Services, call: Call, written: Written) -> dict[str, str]:
    headers = {"ETag": etag(written.instance)}
    if written.operation is None:
        return headers
    return headers | operation_headers(services.settings, call, written.operation, location=False)


def _find(session: Session, services: Services, group: str, name: str, *, lock: bool = False) -> Instance | None:
    row = existing_group(session, services.settings, group)
    instance = queries.instance_by_name(session, name, lock=lock)
    return instance if instance is not None and instance.group_id == row.id else None


def existing_instance(session: Session, services: Services, group: str, name: str, *, lock: bool = False) -> Instance:
    instance = _find(session, services, group, name, lock=lock)
    if instance is None:
        message = f"The Resource '{INSTANCE_RESOURCE_TYPE}/{name}' under resource group '{group}' was not found."
        raise not_found("ResourceNotFound", message)
    return instance


def _page(
    request: Request, call: Call, instances: Sequence[Instance], filter_: str | None, skip_token: str | None
) -> Response:
    terms = parse_filter(filter_, _FILTER_FIELDS) if filter_ else {}
    after = decode_cursor(skip_token) if skip_token else ""
    chosen = [row for row in instances if row.name_key > after and matches(terms, _filter_values(row), row.tags)]
    page: dict[str, Any] = {"value": [instance_view(row) for row in chosen[:PAGE_SIZE]]}
    if len(chosen) > PAGE_SIZE:
        query = {"api-version": call.api_version} | ({"$filter": filter_} if filter_ else {})
        query["$skipToken"] = encode_cursor(chosen[PAGE_SIZE - 1].name_key)
        page["nextLink"] = f"{call.origin}{request.url.path}?{urlencode(query)}"
    return ArmJson(page)


def _filter_values(instance: Instance) -> dict[str, str]:
    return {
        "name": instance.name,
        "location": instance.location,
        "runningState": instance.running_state,
        "provisioningState": instance.provisioning_state,
    }
