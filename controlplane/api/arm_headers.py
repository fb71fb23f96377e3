"""The door every request passes: ids, path folding, caller, api-version, subscription; headers on the way out.

The order of the checks is ARM's (control-plane.md 5.3): authentication, api-version, subscription; a handler goes on
with provider registration, resource group, body and conflicts. Written as plain ASGI, so that it runs before any
body is read and around anything that may go wrong.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controlplane.api.answers import MAX_BODY_BYTES, error_answer, too_large
from controlplane.api.auth import authenticate
from controlplane.api.call import Call, begin_call
from controlplane.api.quota import Quota
from controlplane.arm.resource_id import INSTANCE_TYPE, NAMESPACE, fold_path, is_guid, is_resource_manager_path
from controlplane.arm.validation import is_api_version
from controlplane.errors import ArmError, bad_request, not_found
from controlplane.issuer.tokens import Issuer
from controlplane.settings import Settings

INSTANCE_NAMESPACE = "Mccf.Instances"
MANAGED_CCF_VERSIONS = (
    "2025-06-10-preview",
    "2024-09-19-preview",
    "2024-07-09-preview",
    "2023-06-28-preview",
    "2023-01-26-preview",
    "2022-09-08-preview",
)
INSTANCE_VIEW_VERSIONS = ("2026-01-01-preview",)
_STATUS_WORDS = ("operationStatuses", "operationResults")

_LOG = logging.getLogger("mccf.api")


@dataclass(frozen=True, slots=True)
class ArmGate:
    """ASGI middleware around the whole application."""

    app: ASGIApp
    settings: Settings
    issuer: Issuer
    quota: Quota
    clock: Callable[[], datetime]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        call = begin_call(headers, self.settings.public_url, self.settings.base_url)
        answer = _Answer(call, self.settings.location, self.clock(), send)
        started_s = time.monotonic()
        try:
            await self._serve(scope, receive, answer, headers, call)
        except ArmError as error:
            await error_answer(error)(scope, receive, answer)
        except Exception:
            _LOG.exception("request failed", extra=_log_fields(scope, call))
            if not answer.status:
                await error_answer(_internal_error(call))(scope, receive, answer)
        elapsed_ms = round((time.monotonic() - started_s) * 1000, 1)
        fields = _log_fields(scope, call) | {"status": answer.status, "elapsed_ms": elapsed_ms}
        _LOG.info("request", extra=fields)

    async def _serve(
        self, scope: Scope, receive: Receive, answer: "_Answer", headers: dict[str, str], call: Call
    ) -> None:
        path = fold_path(scope["path"])
        scope["path"], scope["raw_path"] = path, path.encode()
        if is_resource_manager_path(path):
            call = self._admit(scope, path, headers, call, answer)
        check_body(scope["method"], headers, resource_manager=is_resource_manager_path(path))
        scope.setdefault("state", {})["call"] = call
        await self.app(scope, _limited(receive), answer)

    def _admit(self, scope: Scope, path: str, headers: dict[str, str], call: Call, answer: "_Answer") -> Call:
        now = self.clock()
        principal = authenticate(headers.get("authorization"), self.issuer, call.origin, now)
        answer.remaining = self.quota.spend(principal.object_id, scope["method"], now)
        api_version = check_api_version(path, dict(parse_qsl(scope["query_string"].decode("latin-1"))))
        check_subscription(path, self.settings.subscription_id)
        return replace(call, principal=principal, api_version=api_version)


def check_api_version(path: str, query: dict[str, str]) -> str:
    """The api-version of a folded path's request. Raises the 400s of control-plane.md 5.3."""
    version = query.get("api-version", "")
    if not version:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise bad_request("MissingApiVersionParameter", message)
    if not is_api_version(version):
        message = "The api-version is invalid. It has the form YYYY-MM-DD or YYYY-MM-DD-preview."
        raise bad_request("InvalidApiVersionParameter", message)
    kind, offered = offered_versions(path)
    if offered and version not in offered:
        message = (
            f"No registered resource provider found for API version '{version}' for type '{kind}'. "
            f"The supported api-versions are '{', '.join(offered)}'."
        )
        raise bad_request("NoRegisteredProviderFound", message)
    return version


def offered_versions(path: str) -> tuple[str, tuple[str, ...]]:
    """The type a folded path is about and its versions; no versions means that any well-formed one will do."""
    segments = path.split("/")
    if "providers" not in segments:
        return "", ()
    last = len(segments) - 1 - segments[::-1].index("providers")
    namespace, kind = (*segments[last + 1 :], "", "")[:2]
    if namespace == INSTANCE_NAMESPACE:
        return kind, INSTANCE_VIEW_VERSIONS
    if namespace != NAMESPACE or any(word in segments for word in _STATUS_WORDS):
        return kind, ()
    return kind, MANAGED_CCF_VERSIONS if kind in (INSTANCE_TYPE, "checkNameAvailability", "operations") else ()


def check_subscription(path: str, subscription_id: str) -> None:
    """A path below `/subscriptions/{id}` must name the installation's own subscription."""
    match path.split("/"):
        case ["", "subscriptions", given, *_]:
            if not is_guid(given):
                message = "The provided subscription identifier is malformed or invalid."
                raise bad_request("InvalidSubscriptionId", message)
            if given.lower() != subscription_id.lower():
                raise not_found("SubscriptionNotFound", f"The subscription '{given}' could not be found.")


def check_body(method: str, headers: dict[str, str], *, resource_manager: bool) -> None:
    """Refuse a body that is too long or of a type the resource manager does not read."""
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise too_large()
    content_type = headers.get("content-type", "")
    has_body = length != "0" or "transfer-encoding" in headers
    if resource_manager and method in ("PUT", "PATCH", "POST") and has_body and content_type:
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise ArmError(415, "UnsupportedMediaType", "The content type must be application/json.")


@dataclass(slots=True)
class _Answer:
    """The `send` of one request: it adds the standard headers (control-plane.md 4.5) and remembers the status."""

    call: Call
    region: str
    at: datetime
    send: Send
    status: int = 0
    remaining: tuple[str, int] | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], *_encode(self._headers())]}
        await self.send(message)

    def _headers(self) -> dict[str, str]:
        headers = {
            "x-ms-request-id": self.call.request_id,
            "x-ms-correlation-request-id": self.call.correlation_id,
            "x-ms-routing-request-id": f"{self.region.upper()}:{self.at:%Y%m%dT%H%M%SZ}:{self.call.request_id}",
            "Cache-Control": "no-cache",
            "Pragma": "no-cache",
            "Expires": "-1",
            "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
            "X-Content-Type-Options": "nosniff",
        }
        if self.call.echo_client_request_id and self.call.client_request_id:
            headers["x-ms-client-request-id"] = self.call.client_request_id
        if self.remaining:
            kind, left = self.remaining
            headers[f"x-ms-ratelimit-remaining-subscription-{kind}"] = str(left)
        return headers


def _encode(headers: dict[str, str]) -> Iterable[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _limited(receive: Receive) -> Receive:
    """Count a body that came without a length, and stop reading it when it is too long."""
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413)  # the one kind of exception that the framework's body reader lets through
        return message

    return limited


def _internal_error(call: Call) -> ArmError:
    message = f"The server failed to process the request. Quote the request id {call.request_id} when asking about it."
    return ArmError(500, "InternalServerError", message)


def _log_fields(scope: Scope, call: Call) -> dict[str, Any]:
    # The query string is left out: nothing secret belongs there, and some client will put it there.
    return {
        "request_id": call.request_id,
        "correlation_id": call.correlation_id,
        "method": scope["method"],
        "path": scope["path"],
    }
