"""Requests that backups hand to the primary, and their answers, over node channels (node-api.md 1.4).

A message is a JSON header, its length in front of it, and the body as it is. Every request waits at most the time its
interface allows; an answer that comes later is dropped. When the channel to the primary breaks, no answer can come any
more: the client hears so at once and does not wait for a dead node.
"""

import asyncio
import base64
import json
from collections.abc import Callable
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
    try:
        cert = header["cert"]
        peer = Peer(None if cert is None else base64.b64decode(cert), header["peer"])
        request = ForwardedRequest(
            header["session"], peer, header["method"], header["url"], dict(header["headers"]), body
        )
        return header["id"], request
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedForward(f"a forwarded request lacks a field: {error!r}") from error


def encode_response(number: int, response: Response) -> bytes:
    """The bytes of an answer to a forwarded request."""
    return _encode({"id": number, "status": response.status, "headers": response.headers}, response.body)


def decode_response(payload: bytes) -> tuple[int, Response]:
    """The number and the answer; raises `MalformedForward`."""
    header, body = _decode(payload)
    try:
        return header["id"], Response(header["status"], body, dict(header["headers"]))
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedForward(f"a forwarded answer lacks a field: {error!r}") from error


def _encode(header: dict[str, object], body: bytes) -> bytes:
    encoded = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTH.pack(len(encoded)) + encoded + body


def _decode(payload: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        (length,) = _LENGTH.unpack_from(payload)
        header = json.loads(payload[_LENGTH.size : _LENGTH.size + length])
    except (StructError, ValueError) as error:
        raise MalformedForward(f"a forwarded message has no header: {error}") from error
    if not isinstance(header, dict):
        raise MalformedForward("the header of a forwarded message is not an object")
    return header, payload[_LENGTH.size + length :]
