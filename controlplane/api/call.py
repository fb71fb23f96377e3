"""One request as the resource manager sees it: its ids, its caller, and where its answer's URLs must point."""

import re
import uuid
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from controlplane.arm.resource_id import is_guid
from controlplane.issuer.tokens import Principal

_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
MAX_CLIENT_REQUEST_ID = 128


@dataclass(frozen=True, slots=True)
class Call:
    request_id: str
    correlation_id: str
    client_request_id: str | None
    echo_client_request_id: bool
    origin: str
    """`https://host:port` as the client wrote it: clients follow our URLs verbatim (control-plane.md 0, rule 10)."""
    api_version: str = ""
    principal: Principal | None = None

    @property
    def caller(self) -> Principal:
        assert self.principal is not None, "an unauthenticated call reached an ARM handler"
        return self.principal


def begin_call(headers: dict[str, str], public_url: str, base_url: str) -> Call:
    """Name a request; `headers` have lower-case names. A correlation id given by the client is kept if it is a GUID."""
    correlation_id = headers.get("x-ms-correlation-request-id", "")
    client_request_id = headers.get("x-ms-client-request-id", "")[:MAX_CLIENT_REQUEST_ID] or None
    request_id = str(uuid.uuid4())
    return Call(
        request_id=request_id,
        correlation_id=correlation_id if is_guid(correlation_id) else request_id,
        client_request_id=client_request_id,
        echo_client_request_id=headers.get("x-ms-return-client-request-id", "").lower() == "true",
        origin=public_url.rstrip("/") or _origin(headers.get("host", ""), base_url),
    )


def call_of(request: Request) -> Call:
    call: Call = request.state.call
    return call


CallOf = Annotated[Call, Depends(call_of)]


def _origin(host: str, base_url: str) -> str:
    return f"https://{host}" if _HOST.fullmatch(host) else base_url
