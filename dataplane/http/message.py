"""Requests and responses as plain values, and the bytes of a response (node-api.md 1.1, 1.5)."""

import json
from dataclasses import dataclass, field
from http import HTTPStatus

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_WITHOUT_LENGTH = frozenset({204, 304})

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(slots=True)
class HttpRequest:
    """One request, whole. `url` is as received (path and query); header names are lower case."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool = True


@dataclass(slots=True)
class HttpResponse:
    """One response. `close` ends the connection after it. Header names are written in lower case.

    `content-length` is added; one given in `headers` stands, for answers to HEAD.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    close: bool = False


def error_response(status: int, code: str, message: str, *, close: bool = False) -> HttpResponse:
    """The error body of node-api.md 1.3, without details."""
    body = json.dumps({"error": {"code": code, "message": message}}, separators=(",", ":"), sort_keys=True)
    return HttpResponse(status, {"content-type": "application/json"}, body.encode(), close)


def encode_response(response: HttpResponse, *, head_only: bool, close: bool) -> bytes:
    """The bytes of `response`; no body when it answers HEAD. A line break smuggled into a header becomes a 500."""
    status, body = response.status, response.body
    head = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n"
    fields = "".join([f"{name.lower()}: {value}\r\n" for name, value in response.headers.items()])
    if fields.count("\n") != len(response.headers) or fields.count("\r") != len(response.headers):
        broken = error_response(500, "InternalError", "A response header contains a line break.")
        return encode_response(broken, head_only=head_only, close=close)
    if status not in _WITHOUT_LENGTH and "content-length: " not in fields:
        fields = f"{fields}content-length: {len(body)}\r\n"
    if close:
        fields += "connection: close\r\n"
    encoded = f"{head}{fields}\r\n".encode("utf-8", "replace")
    return encoded if head_only or status in _WITHOUT_LENGTH else encoded + body
