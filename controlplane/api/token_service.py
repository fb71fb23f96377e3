"""The token issuer's endpoints: OpenID documents, keys and the token endpoint (control-plane.md 6.2)."""

import logging
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.responses import Response

from controlplane.api.answers import ArmJson
from controlplane.api.call import Call, CallOf
from controlplane.api.schemas import AccessToken, OAuthError
from controlplane.api.services import Services, ServicesOf
from controlplane.api.views import timestamp
from controlplane.issuer.grants import GrantError, grant

# The names under which MSAL may ask for the only tenant there is.
TENANT_ALIASES = ("organizations", "common")
ADFS = "adfs"

_LOG = logging.getLogger("mccf.issuer")

Tenant = Annotated[str, Path(description="The tenant's id, `organizations` or `common`.")]
Object = dict[str, Any]


# What the token endpoint reads, for the OpenAPI document: forms are parsed here, without the framework's form support.
_FORM_FIELDS = ("grant_type", "client_id", "client_secret", "scope", "resource")
_FORM_SCHEMA = {
    "type": "object",
    "required": ["grant_type"],
    "properties": {name: {"type": "string"} for name in _FORM_FIELDS},
}
_FORM_BODY = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": _FORM_SCHEMA}}}
_REFUSALS: dict[int | str, dict[str, Any]] = {"default": {"model": OAuthError, "description": "A refused request."}}


async def form_of(request: Request) -> dict[str, str]:
    """The first value of each field of a form body; what cannot be read is an empty form."""
    body = (await request.body()).decode("utf-8", errors="replace")
    fields: dict[str, str] = {}
    for name, value in parse_qsl(body):
        fields.setdefault(name, value)
    return fields


router = APIRouter(redirect_slashes=False, responses=_REFUSALS)

Form = Annotated[dict[str, str], Depends(form_of)]
Authorization = Annotated[str | None, Header(include_in_schema=False)]


@router.get("/{tenant}/v2.0/.well-known/openid-configuration", response_model=Object, name="OpenIdConfiguration")
def configuration(services: ServicesOf, call: CallOf, tenant: Tenant) -> Response:
    if not _is_ours(services, tenant):
        return _refused(services, call, _unknown_tenant())
    root = f"{call.origin}/{tenant}"
    # MSAL wants an issuer on the host it was told; our own tokens carry the configured one (tokens.Issuer).
    tenant_id = services.settings.tenant_id
    return ArmJson(_document(f"{call.origin}/{tenant_id}/v2.0", root, f"{root}/discovery/v2.0/keys"))


@router.get("/adfs/.well-known/openid-configuration", response_model=Object, name="AdfsOpenIdConfiguration")
def adfs_configuration(call: CallOf) -> Response:
    root = f"{call.origin}/{ADFS}"
    return ArmJson(_document(root, root, f"{root}/discovery/v2.0/keys"))


@router.get("/{tenant}/discovery/v2.0/keys", response_model=Object, name="Keys")
def keys(services: ServicesOf, call: CallOf, tenant: Tenant) -> Response:
    if tenant.lower() != ADFS and not _is_ours(services, tenant):
        return _refused(services, call, _unknown_tenant())
    return ArmJson(services.issuer.jwks())


@router.post(
    "/{tenant}/oauth2/v2.0/token", response_model=AccessToken, openapi_extra={"requestBody": _FORM_BODY}, name="Token"
)
def token(
    services: ServicesOf, call: CallOf, tenant: Tenant, form: Form, authorization: Authorization = None
) -> Response:
    if tenant.lower() != ADFS and not _is_ours(services, tenant):
        return _refused(services, call, _unknown_tenant())
    try:
        with services.database.read() as session:
            answer = grant(session, services.issuer, form, authorization, services.clock())
    except GrantError as error:
        return _refused(services, call, error)
    return ArmJson(answer)


def _document(issuer: str, root: str, jwks_uri: str) -> Object:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
        "token_endpoint": f"{root}/oauth2/v2.0/token",
        "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
        "jwks_uri": jwks_uri,
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "response_modes_supported": ["form_post"],
        "response_types_supported": ["code"],
        "grant_types_supported": ["client_credentials"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "offline_access"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nbf", "tid", "oid", "appid", "idtyp"],
    }


def _is_ours(services: Services, tenant: str) -> bool:
    return tenant.lower() in (services.settings.tenant_id.lower(), *TENANT_ALIASES)


def _unknown_tenant() -> GrantError:
    return GrantError(400, "invalid_tenant", 90002, "The tenant was not found.")


def _refused(services: Services, call: Call, error: GrantError) -> Response:
    _LOG.warning("token refused", extra={"request_id": call.request_id, "status": error.status})
    body = {
        "error": error.error,
        "error_description": error.description,
        "error_codes": [error.number],
        "timestamp": timestamp(services.clock()),
        "trace_id": call.request_id,
        "correlation_id": call.correlation_id,
    }
    return ArmJson(body, error.status)
