"""Requests that backups hand to the primary, and their answers, over node channels (node-api.md 1.4).

A message is a JSON header, its length in front of it, and the body as it is. Every request waits at most the time its
interface allows; an answer that comes later is dropped. When the channel to the primary breaks, no answer can come any
more: the client hears so at once and does not wait for a dead node.
"""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Any

from dataplane.api.auth import Peer
from dataplane.api.pipeline import ForwardedRequest, Reply
from dataplane.apps.endpoint import Response, text_response
from dataplane.txid import NodeId

_LENGTH = Struct("<I")


class MalformedForward(ValueError):
    """The bytes are not a forwarded request or answer."""


@dataclass(slots=True)
class _Waiting:
    primary: NodeId
    reply: Reply
    timer: asyncio.TimerHandle


class Forwarder:
    """The backup's side: what is under way, by number."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[int, _Waiting] = {}
        self._next_id = 1

    def send(
        self, request: ForwardedRequest, primary: NodeId, timeout_ms: int, reply: Reply, send: Callable[[bytes], object]
    ) -> None:
        """Send `request` to `primary` through `send` and remember whom to answer."""
        number = self._next_id
        self._next_id += 1
        timer = self._loop.call_later(timeout_ms / 1000, self._expire, number, primary, timeout_ms)
        self._waiting[number] = _Waiting(primary, reply, timer)
        send(encode_request(number, request))

    def answer(self, payload: bytes) -> None:
        """An answer of the primary; raises `MalformedForward`."""
        number, response = decode_response(payload)
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.timer.cancel()
            waiting.reply(response)

    def lost(self, primary: NodeId) -> None:
        """The channel to `primary` broke: what was under way to it may or may not have taken effect there."""
        text = f"Request was forwarded to node {primary}, but the channel to it broke before an answer came"
        for number in [n for n, waiting in self._waiting.items() if waiting.primary == primary]:
            waiting = self._waiting.pop(number)
            waiting.timer.cancel()
            waiting.reply(text_response(text, status=504))

    def _expire(self, number: int, primary: NodeId, timeout_ms: int) -> None:
        waiting = self._waiting.pop(number)
        text = f"Request was forwarded to node {primary}, but no answer came within {timeout_ms}ms"
        waiting.reply(text_response(text, status=504))


def encode_request(number: int, request: ForwardedRequest) -> bytes:
    """The bytes of a forwarded request."""
    der = request.peer.certificate_der
    header = {
        "id": number,
        "session": request.session_id,
        "method": request.method,
        "url": request.url,
        "headers": dict(request.headers),
        "cert": None if der is None else base64.b64encode(der).decode(),
        "peer": request.peer.id,
    }
    return _encode(header, request.body)


def decode_request(payload: bytes) -> tuple[int, ForwardedRequest]:
    """The number and the request; raises `MalformedForward`."""
    header, body = _decode(payload)
    request = ForwardedRequest(
        _number(header, "session"), _peer(header), _text(header, "method"), _text(header, "url"), _texts(header), body
    )
    return _number(header, "id"), request


def encode_response(number: int, response: Response) -> bytes:
    """The bytes of an answer to a forwarded request."""
    return _encode({"id": number, "status": response.status, "headers": response.headers}, response.body)


def decode_response(payload: bytes) -> tuple[int, Response]:
    """The number and the answer; raises `MalformedForward`."""
    header, body = _decode(payload)
    return _number(header, "id"), Response(_number(header, "status"), body, _texts(header))


def _encode(header: dict[str, object], body: bytes) -> bytes:
    encoded = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTH.pack(len(encoded)) + encoded + body


def _decode(payload: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        (length,) = _LENGTH.unpack_from(payload)
        header = json.loads(payload[_LENGTH.size : _LENGTH.size + length])
    except (StructError, ValueError, RecursionError) as error:
        raise MalformedForward(f"a forwarded message has no header: {error}") from error
    if not isinstance(header, dict):
        raise MalformedForward("the header of a forwarded message is not an object")
    return header, payload[_LENGTH.size + length :]


def _number(header: Mapping[str, Any], name: str) -> int:
    value = header.get(name)
    if type(value) is not int:
        raise MalformedForward(f"{name} of a forwarded message is no number")
    return value


def _text(header: Mapping[str, Any], name: str) -> str:
    value = header.get(name)
    if not isinstance(value, str):
        raise MalformedForward(f"{name} of a forwarded message is no text")
    return value


def _texts(header: Mapping[str, Any]) -> dict[str, str]:
    headers = header.get("headers")
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise MalformedForward("the headers of a forwarded message are no texts")
    return headers


def _peer(header: Mapping[str, Any]) -> Peer:
    """Who asked: a certificate and its fingerprint, or neither."""
    if header.get("cert") is None and header.get("peer") is None:
        return Peer()
    try:
        return Peer(base64.b64decode(_text(header, "cert"), validate=True), _text(header, "peer"))
    except ValueError as error:
        raise MalformedForward("the certificate in a forwarded request is no base64") from error
