"""Rows as the JSON clients see (control-plane.md 1.3, 3.2)."""

from datetime import datetime
from typing import Any

from controlplane.arm.operation import TERMINAL, OperationStatus
from controlplane.arm.resource_id import INSTANCE_RESOURCE_TYPE, NAMESPACE, InstanceId, group_id
from controlplane.store.tables import Event, Instance, Node, Operation, ResourceGroup

# Every backend of this release runs nodes on the virtual platform, which protects nothing (decisions 7).
PLATFORM = {"kind": "virtual", "confidential": False, "label": "simulated"}


def timestamp(at: datetime) -> str:
    """ISO 8601 in UTC with seven fractional digits, as .NET prints (control-plane.md 4.3)."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}0Z"


def instance_resource_id(instance: Instance) -> str:
    return str(InstanceId(instance.subscription_id, instance.group_name, instance.name))


def instance_view(instance: Instance) -> dict[str, Any]:
    return {
        "id": instance_resource_id(instance),
        "name": instance.name,
        "type": INSTANCE_RESOURCE_TYPE,
        "location": instance.location,
        "tags": instance.tags,
        "systemData": {
            "createdBy": instance.created_by,
            "createdByType": instance.created_by_type,
            "createdAt": timestamp(instance.created_at),
            "lastModifiedBy": instance.modified_by,
            "lastModifiedByType": instance.modified_by_type,
            "lastModifiedAt": timestamp(instance.modified_at),
        },
        "properties": _properties(instance),
    }


def etag(instance: Instance) -> str:
    """A strong tag per revision; the row's id keeps a recreated resource from having an old one's tag."""
    return f'"{instance.id[:8]}-{instance.revision}"'


def operation_view(operation: Operation) -> dict[str, Any]:
    """The status resource (control-plane.md 3.2)."""
    view: dict[str, Any] = {
        "id": f"/providers/{NAMESPACE}/locations/{operation.location}/operationStatuses/{operation.id}",
        "name": operation.id,
        "resourceId": operation.resource_id,
        "status": operation.status,
        "percentComplete": operation.percent_complete,
        "startTime": timestamp(operation.started_at),
    }
    if operation.ended_at is not None:
        view["endTime"] = timestamp(operation.ended_at)
    if operation.status == OperationStatus.SUCCEEDED:
        view["properties"] = operation.result
    elif operation.status in TERMINAL:
        view["error"] = operation.error
    return view


def group_view(group: ResourceGroup) -> dict[str, Any]:
    return {
        "id": group_id(group.subscription_id, group.name),
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "tags": group.tags,
        "properties": {"provisioningState": group.provisioning_state},
    }


def node_view(node: Node) -> dict[str, Any]:
    return _without_none(
        name=node.name,
        zone=node.zone,
        state=node.state,
        nodeId=node.node_id,
        role=node.role,
        rpcAddress=node.rpc_address,
        lastSeqno=node.last_seqno,
        message=node.message,
        createdAt=timestamp(node.created_at),
        updatedAt=timestamp(node.updated_at),
    )


def event_view(event: Event) -> dict[str, Any]:
    return _without_none(
        sequence=event.sequence,
        at=timestamp(event.at),
        kind=event.kind,
        level=event.level,
        message=event.message,
        details=event.details,
        operationId=event.operation_id,
        correlationId=event.correlation_id,
        caller=event.caller,
    )


def _properties(instance: Instance) -> dict[str, Any]:
    desired = instance.desired
    return _without_none(
        appName=instance.name,
        appUri=instance.app_uri,
        identityServiceUri=instance.identity_service_uri,
        memberIdentityCertificates=desired["memberIdentityCertificates"],
        deploymentType=desired["deploymentType"],
        nodeCount=desired["nodeCount"],
        runningState=instance.running_state,
        provisioningState=instance.provisioning_state,
        enclavePlatform=desired["enclavePlatform"],
        platform=PLATFORM,
        serviceState=instance.service_state,
        waitingForMembers=instance.waiting_for_members,
    )


def _without_none(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
