"""Where the primary's own refresh of token issuers' keys arrives, and its counts (node-api.md 2.2, 3.2)."""

import json
from collections.abc import Callable, Mapping

from dataplane.apps.endpoint import Context, Endpoint, Forwarding, Mode, Response, json_response
from dataplane.errors import InternalError
from dataplane.governance.jwt import InvalidKeySet, is_refreshed, set_signing_keys

REFRESH_PATH = "/jwt_keys/refresh"


def jwt_refresh_endpoints(counts: Callable[[], Mapping[str, int]]) -> list[Endpoint]:
    """`counts()` gives `attempts`, `successes` and `failures` of this node."""
    return [
        Endpoint("POST", REFRESH_PATH, _refresh, ("node_cert",), Mode.READ_WRITE, Forwarding.ALWAYS, hidden=True),
        Endpoint(
            "GET",
            f"{REFRESH_PATH}/metrics",
            lambda context: json_response(dict(counts())),
        ),
    ]


def _refresh(context: Context) -> Response:
    """Store a key set that the primary fetched. The client is the service itself: every failure is a 500."""
    assert context.caller is not None
    if context.caller.id != context.node.primary_id:
        raise InternalError("Request does not originate from primary.")
    issuer, jwks = _parsed(context.request.body)
    refreshed = is_refreshed(context.tx, issuer)
    if refreshed is None:
        raise InternalError(f"{issuer} is not a valid issuer.")
    if not refreshed:
        raise InternalError(f"{issuer} does not have auto_refresh enabled.")
    try:
        set_signing_keys(context.tx, issuer, jwks)
    except InvalidKeySet as error:
        raise InternalError(f"Error while storing signing keys for issuer {issuer}: {error}.") from error
    return json_response(True)


def _parsed(body: bytes) -> tuple[str, object]:
    try:
        message = json.loads(body)
        return str(message["issuer"]), message["jwks"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InternalError("Unable to parse body.") from error
