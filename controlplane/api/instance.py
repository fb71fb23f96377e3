"""What ARM lacks: the nodes of an instance and what happened to it, below the instance as `Mccf.Instances`."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Request
from fastapi.responses import Response

from controlplane.api.answers import ArmJson
from controlplane.api.arm_headers import INSTANCE_NAMESPACE, INSTANCE_VIEW_VERSIONS
from controlplane.api.call import CallOf
from controlplane.api.managed_ccfs import RESOURCE, existing_instance
from controlplane.api.routing import GroupName, InstanceName, arm_router
from controlplane.api.schemas import EventList, NodeList
from controlplane.api.services import ServicesOf
from controlplane.api.views import event_view, node_view
from controlplane.store import queries

VIEW = f"{RESOURCE}/providers/{INSTANCE_NAMESPACE}"
EVENT_PAGE = 200

router = arm_router(subscription=True, versions=INSTANCE_VIEW_VERSIONS)


@router.get(f"{VIEW}/nodes", response_model=NodeList, name="Instances_ListNodes")
def nodes(services: ServicesOf, group: GroupName, name: InstanceName) -> Response:
    with services.database.read() as session:
        instance = existing_instance(session, services, group, name)
        rows = queries.nodes_of_instance(session, instance.id)
    return ArmJson({"value": [node_view(row) for row in rows]})


@router.get(f"{VIEW}/events", response_model=EventList, name="Instances_ListEvents")
def events(
    request: Request,
    services: ServicesOf,
    call: CallOf,
    group: GroupName,
    name: InstanceName,
    after: Annotated[int, Query(ge=0, le=2**53, description="Only events with a greater sequence number.")] = 0,
) -> Response:
    """Oldest first; `nextLink` goes on after the last one given, and is absent when there are no more for now."""
    with services.database.read() as session:
        instance = existing_instance(session, services, group, name)
        rows = queries.events_after(session, instance.id, after, EVENT_PAGE + 1)
    page: dict[str, Any] = {"value": [event_view(row) for row in rows[:EVENT_PAGE]]}
    if len(rows) > EVENT_PAGE:
        query = urlencode({"api-version": call.api_version, "after": rows[EVENT_PAGE - 1].sequence})
        page["nextLink"] = f"{call.origin}{request.url.path}?{query}"
    return ArmJson(page)
