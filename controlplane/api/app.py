"""The application: routes, and every error as an ARM body in one place (control-plane.md 5.1)."""

from itertools import chain

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from controlplane.api import (
    discovery,
    groups,
    instance,
    ledger_identity,
    managed_ccfs,
    operations,
    token_service,
)
from controlplane.api.answers import ArmJson, error_answer, http_error, invalid_body
from controlplane.api.arm_headers import ArmGate
from controlplane.api.call import call_of
from controlplane.api.not_offered import unserved
from controlplane.api.quota import DELETES, READS, WRITES, Quota
from controlplane.api.services import Clock, Notify, Services, utc_now
from controlplane.errors import ArmError
from controlplane.issuer.tokens import ARM_AUDIENCES, Issuer, load_or_create_key
from controlplane.settings import Settings
from controlplane.store.session import Database, open_database

ARM = "arm"
INSTANCE = "instance"
ISSUER = "issuer"
# The API documents of `openapi/`, and the routers each of them describes (architecture.md 9).
DOCUMENTS = {
    ARM: (
        discovery.tenant_router,
        discovery.router,
        groups.router,
        managed_ccfs.router,
        operations.router,
        operations.subscription_router,
        operations.provider_router,
    ),
    INSTANCE: (instance.router, ledger_identity.router),
    ISSUER: (token_service.router, discovery.public),
}


def create_app(
    settings: Settings, *, notify: Notify, database: Database | None = None, clock: Clock = utc_now
) -> ASGIApp:
    """The whole API as one ASGI application. `notify` is called with an instance's row id after each write."""
    issuer = make_issuer(settings)
    services = Services(settings, database or open_database(settings.sqlalchemy_url), issuer, notify, clock)
    limits = {READS: settings.reads_per_hour, WRITES: settings.writes_per_hour, DELETES: settings.deletes_per_hour}
    return ArmGate(build_routes(services), settings, issuer, Quota(limits), clock)


def make_issuer(settings: Settings) -> Issuer:
    """The tenant's issuer; its key is made at first use."""
    return Issuer(
        issuer=f"{settings.base_url}/{settings.tenant_id}/v2.0",
        tenant_id=settings.tenant_id,
        audiences=frozenset({*ARM_AUDIENCES, f"{settings.base_url}/"}),
        lifetime_s=settings.token_lifetime_s,
        key=load_or_create_key(settings.issuer_keys_file),
    )


def build_routes(services: Services) -> FastAPI:
    """The routes behind the gate."""
    app = FastAPI(
        title="mccf",
        openapi_url=None,
        default_response_class=ArmJson,
        redirect_slashes=False,
        strict_content_type=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    for router in chain.from_iterable(DOCUMENTS.values()):
        app.include_router(router)
    app.add_exception_handler(ArmError, _arm_error)
    app.add_exception_handler(RequestValidationError, _invalid_body)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    return app


async def _arm_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ArmError)
    return error_answer(error)


async def _invalid_body(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return error_answer(invalid_body(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_answer(unserved(request.url.path) if error.status_code == 404 else http_error(error))


async def _unexpected(request: Request, _error: Exception) -> Response:
    """The gate logs the exception, which the framework raises again after this answer."""
    message = f"The server failed to process the request. Quote the request id {call_of(request).request_id}."
    return error_answer(ArmError(500, "InternalServerError", message))
