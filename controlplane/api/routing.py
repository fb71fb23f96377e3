"""How routes are declared: strict JSON, api-version and subscription as parameters of the contract, ARM's answers."""

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from controlplane.api.answers import NOT_JSON, ArmJson
from controlplane.api.schemas import ErrorResponse

SubscriptionId = Annotated[str, Path(alias="subscriptionId", description="The subscription, a GUID.")]
GroupName = Annotated[str, Path(alias="resourceGroupName", description="The resource group, in any casing.")]
InstanceName = Annotated[str, Path(alias="appName", description="The instance, in any casing.")]

ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": ErrorResponse, "description": "An ARM error."}}


class ArmRequest(Request):
    """Reads JSON as the contract means it; what is no JSON fails later, in the place of the body's checks."""

    async def json(self) -> Any:
        try:
            return parse_json(await self.body())
        except (ValueError, RecursionError):
            return NOT_JSON


class ArmRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def read_strictly(request: Request) -> Response:
            return await handle(ArmRequest(request.scope, request.receive))

        return read_strictly


def parse_json(body: bytes) -> Any:
    """JSON without `NaN`, and only text that can be written again. Raises `ValueError`."""
    value = json.loads(body, parse_constant=_refuse_constant)
    if b"\\u" in body:
        json.dumps(value, ensure_ascii=False).encode()  # an unpaired surrogate has no UTF-8
    return value


def arm_router(*, subscription: bool, versions: Sequence[str] = ()) -> APIRouter:
    """A router of resource manager routes, below a subscription or not; `versions` are those its type offers."""
    declared = [_api_version(versions)] + ([_subscription] if subscription else [])
    return APIRouter(
        route_class=ArmRoute,
        default_response_class=ArmJson,
        dependencies=[Depends(dependency) for dependency in declared],
        responses=ERRORS,
        redirect_slashes=False,
    )


# The gate has checked both before routing; here they are declared, so that the OpenAPI document derives from the code.


def _api_version(versions: Sequence[str]) -> Callable[[str], None]:
    enum = {"enum": list(versions)} if versions else {}
    parameter = Query(alias="api-version", description="The version of the API.", json_schema_extra={**enum})

    def declare(version: Annotated[str, parameter]) -> None:
        """Nothing is left to do."""

    return declare


def _subscription(_subscription_id: SubscriptionId) -> None:
    """Nothing is left to do."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
