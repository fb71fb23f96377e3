"""What governance endpoints check first, the `api-version` parameter and ids in the URL, and how they log an error.

node-api.md 2.3.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from dataplane.apps.endpoint import Context, Endpoint, Mode, Response, query_values
from dataplane.errors import CcfError, InvalidResourceName, RpcError

VERSIONS = "x-ccf-api-versions"
"""Where an operation of the document names the versions it exists in."""
_log = logging.getLogger("gov")
_HEX_ID = re.compile(r"[0-9a-fA-F]{64}")


class ApiVersion(StrEnum):
    """The two versions there are."""

    PREVIEW = "2023-06-01-preview"
    V1 = "2024-07-01"


def versioned(
    method: str,
    path: str,
    run: Callable[[Context], Response],
    accepted: tuple[ApiVersion, ...] = tuple(ApiVersion),
    *,
    authn: tuple[str, ...] = (),
    mode: Mode = Mode.READ_ONLY,
) -> Endpoint:
    """An endpoint of the modern API: `run` behind the check of the parameter."""

    def checked(context: Context) -> Response:
        check_version(context, accepted)
        return run(context)

    parameter = {"in": "query", "name": "api-version", "required": True, "schema": {"enum": list(accepted)}}
    openapi = {"parameters": [parameter], VERSIONS: list(accepted)}
    return Endpoint(method, path, checked, authn=authn, mode=mode, openapi=openapi)


def check_version(context: Context, accepted: tuple[ApiVersion, ...] = tuple(ApiVersion)) -> ApiVersion:
    """The version asked for; raises `RpcError` 400 without one, or for one that this endpoint does not have."""
    text = query_values(context.request.query).get("api-version")
    names = ", ".join(accepted)
    if text is None:
        raise RpcError(
            400, "MissingApiVersionParameter", f"The api-version query parameter is required; accepted: {names}."
        )
    if text not in accepted:
        raise RpcError(
            400, "UnsupportedApiVersionValue", f"Unsupported api-version '{text}'; the accepted versions are: {names}."
        )
    return ApiVersion(text)


def hex_id(context: Context, name: str) -> str:
    """The path parameter `name`, an id; raises `InvalidResourceName` unless it has 64 hex digits."""
    value = context.request.params[name]
    if not _HEX_ID.fullmatch(value):
        raise InvalidResourceName(f"{name} {value!r} must consist of 64 hexadecimal digits.")
    return value


def logging_errors(endpoint: Endpoint) -> Endpoint:
    """The endpoint with a line in the node's log for every error it answers; governance is public (drop-in.md 3.5)."""

    def run(context: Context) -> Response:
        try:
            return endpoint.run(context)
        except CcfError as error:
            request = context.request
            _log.info("%s %s returning error %s: %s", request.method, request.path, error.status, error.message)
            raise

    return replace(endpoint, run=run)
