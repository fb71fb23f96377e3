"""Status and result of long-running operations, and what the provider can do (control-plane.md 1.9, 3)."""

from typing import Annotated, Any

from fastapi import Path
from fastapi.responses import Response

from controlplane.api.answers import ArmJson
from controlplane.api.arm_headers import MANAGED_CCF_VERSIONS
from controlplane.api.call import Call, CallOf
from controlplane.api.routing import arm_router
from controlplane.api.schemas import OperationStatusView, ProviderOperationList
from controlplane.api.services import Services, ServicesOf
from controlplane.api.views import instance_view, operation_view
from controlplane.arm.operation import TERMINAL, OperationKind, OperationStatus
from controlplane.arm.resource_id import NAMESPACE
from controlplane.errors import ArmError, not_found
from controlplane.settings import Settings
from controlplane.store import queries
from controlplane.store.tables import Operation

STATUS = f"/providers/{NAMESPACE}/locations/{{location}}/operationStatuses/{{operationId}}"
RESULT = (
    f"/subscriptions/{{subscriptionId}}/providers/{NAMESPACE}/locations/{{location}}/operationResults/{{operationId}}"
)
GROUP_RESULT = "/subscriptions/{subscriptionId}/operationResults/{operationId}"

Location = Annotated[str, Path(description="The region the operation was started in.")]
OperationId = Annotated[str, Path(alias="operationId", description="Opaque, from `Azure-AsyncOperation`.")]

router = arm_router(subscription=False)
subscription_router = arm_router(subscription=True)
provider_router = arm_router(subscription=False, versions=MANAGED_CCF_VERSIONS)

_DISPLAYS = (
    ("register/action", "Registration", "Register", "Registers the subscription for the provider."),
    ("unregister/action", "Registration", "Unregister", "Unregisters the subscription."),
    ("operations/read", "Operations", "List operations", "Lists what the provider can do."),
    ("checkNameAvailability/action", "Names", "Check a name", "Tells whether a name can be taken."),
    ("locations/operationStatuses/read", "Operation statuses", "Read a status", "Reads a long-running operation."),
)
_RESOURCES = (("managedCCFs", "Managed CCF"), ("ledgers", "Confidential Ledger"))
_VERBS = (
    ("read", "Read", "Reads"),
    ("write", "Create or update", "Creates or updates"),
    ("delete", "Delete", "Deletes"),
    ("backup/action", "Back up", "Backs up"),
    ("restore/action", "Restore", "Restores"),
)
_RESULT_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": dict[str, Any], "description": "What the operation made."},
    202: {"description": "It is still running."},
    204: {"description": "It is done, and there is nothing to show."},
}


def operation_headers(settings: Settings, call: Call, operation: Operation, *, location: bool) -> dict[str, str]:
    """`Azure-AsyncOperation`, `Retry-After` and, for verbs that want it, `Location` (control-plane.md 3.1)."""
    version = call.api_version
    status = f"{call.origin}{STATUS}?api-version={version}".format(
        location=operation.location, operationId=operation.id
    )
    headers = {"Azure-AsyncOperation": status, "Retry-After": str(settings.retry_after_s)}
    if location:
        headers["Location"] = f"{call.origin}{_result_path(settings, operation)}?api-version={version}"
    return headers


@router.get(STATUS, response_model=OperationStatusView, name="OperationStatuses_Get")
def status(services: ServicesOf, location: Location, operation_id: OperationId) -> Response:
    operation = _operation(services, operation_id)
    return ArmJson(operation_view(operation), headers=_poll_headers(services.settings, operation))


@subscription_router.get(RESULT, responses=_RESULT_ANSWERS, name="OperationResults_Get")
def result(services: ServicesOf, call: CallOf, location: Location, operation_id: OperationId) -> Response:
    return _result(services, call, operation_id)


@subscription_router.get(GROUP_RESULT, responses=_RESULT_ANSWERS, name="GroupOperationResults_Get")
def group_result(services: ServicesOf, call: CallOf, operation_id: OperationId) -> Response:
    return _result(services, call, operation_id)


@provider_router.get(f"/providers/{NAMESPACE}/operations", response_model=ProviderOperationList, name="Operations_List")
def provider_operations() -> Response:
    return ArmJson({"value": provider_operation_list()})


def provider_operation_list() -> list[dict[str, Any]]:
    """The entries of control-plane.md 1.9."""
    entries = [_entry(name, resource, verb, text) for name, resource, verb, text in _DISPLAYS]
    for kind, resource in _RESOURCES:
        for action, verb, text in _VERBS:
            entries.append(_entry(f"{kind}/{action}", resource, verb, f"{text} a {resource} resource."))
    return entries


def _entry(name: str, resource: str, operation: str, description: str) -> dict[str, Any]:
    display = {"provider": NAMESPACE, "resource": resource, "operation": operation, "description": description}
    return {"name": f"{NAMESPACE}/{name}", "isDataAction": False, "display": display}


def _result(services: Services, call: Call, operation_id: str) -> Response:
    """202 while it runs; then the resource, or 204 after a delete, or the error it ended with."""
    operation = _operation(services, operation_id)
    if OperationStatus(operation.status) not in TERMINAL:
        headers = operation_headers(services.settings, call, operation, location=True)
        return Response(status_code=202, headers=headers)
    if operation.status != OperationStatus.SUCCEEDED:
        error = operation.error or {}
        raise ArmError(
            409, error.get("code", "OperationFailed"), error.get("message", "The operation did not succeed.")
        )
    if operation.kind in (OperationKind.DELETE, OperationKind.DELETE_GROUP):
        return Response(status_code=204)
    with services.database.read() as session:
        instance = queries.instance_by_id(session, operation.resource_row_id)
    return Response(status_code=204) if instance is None else ArmJson(operation.result or instance_view(instance))


def _operation(services: Services, operation_id: str) -> Operation:
    with services.database.read() as session:
        operation = queries.operation(session, operation_id.lower())
    if operation is None:
        raise not_found("ResourceNotFound", "The operation was not found, or it ended too long ago.")
    return operation


def _poll_headers(settings: Settings, operation: Operation) -> dict[str, str]:
    running = OperationStatus(operation.status) not in TERMINAL
    return {"Retry-After": str(settings.retry_after_s)} if running else {}


def _result_path(settings: Settings, operation: Operation) -> str:
    template = GROUP_RESULT if operation.kind == OperationKind.DELETE_GROUP else RESULT
    return template.format(
        subscriptionId=settings.subscription_id, location=operation.location, operationId=operation.id
    )
