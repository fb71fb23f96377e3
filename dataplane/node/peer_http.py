"""One HTTPS request to a node of the service this one is about to join (node-api.md 6.4).

The target must present a certificate that the configured service certificate endorses; this node shows its self-signed
one, by which the service recognises it.
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dataplane.config import Address
from dataplane.crypto.certs import endorses
from dataplane.http.tls import TlsClientContext, TlsConnection, TlsError
from dataplane.node.identity import NodeIdentity

_ANSWER_TIMEOUT_S = 10.0
_READ_BYTES = 1 << 18
_MAX_HEAD_BYTES = 1 << 16
_MAX_REDIRECTS = 20
_LOCATION = re.compile(r"(?:https://(?P<host>[^/]+):(?P<port>[0-9]{1,5}))?(?P<path>/[!-~]*)", re.ASCII)


class PeerFailed(Exception):
    """The target cannot be reached, is not of the service, or does not answer in HTTP. `reason` is for an operator."""


class Answer(NamedTuple):
    """Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Peers:
    """How nodes of the service are asked. `connection_timeout_ms`: in which a connection must stand."""

    identity: NodeIdentity
    service_certificate: str
    connection_timeout_ms: int = 2_000

    async def ask(
        self,
        target: Address,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 64 << 20,
    ) -> Answer:
        """The answer, redirections included. Raises `PeerFailed`, also where its body exceeds `max_bytes`."""
        fields = {"host": str(target), "content-length": str(len(body)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        request = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                async with asyncio.timeout(self.connection_timeout_ms / 1000):
                    reader, writer = await asyncio.open_connection(target.host, target.port)
                try:
                    return await self._exchange(reader, writer, request, max_bytes)
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except (OSError, TimeoutError, TlsError) as error:
            raise PeerFailed(f"cannot reach {target} to join: {error!r}") from error

    async def get(
        self, target: Address, path: str, headers: Mapping[str, str] | None = None, max_bytes: int = 64 << 20
    ) -> tuple[Address, str, Answer]:
        """GET, wherever nodes redirect it: who answered in the end, which path, and what. Raises `PeerFailed`."""
        for _ in range(_MAX_REDIRECTS):
            answer = await self.ask(target, "GET", path, headers=headers, max_bytes=max_bytes)
            if answer.status != 308:
                return target, path, answer
            match = _LOCATION.fullmatch(answer.headers.get("location", ""))
            if match is None:
                raise PeerFailed(f"{target}{path} redirects to nowhere")
            path = match["path"]
            if match["host"]:
                target = Address(match["host"], int(match["port"]))
        raise PeerFailed(f"{target}{path} is redirected more than {_MAX_REDIRECTS} times")

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, max_bytes: int
    ) -> Answer:
        tls = TlsClientContext(self.identity.self_signed_certificate, self.identity.key_pem).connection()
        writer.write(tls.start())
        received = bytearray()
        while not tls.established:
            received += await _read(reader, tls)
            writer.write(tls.take_ciphertext())
        _check_endorsed(tls.peer_certificate_der, self.service_certificate)
        writer.write(tls.write(request))
        while (end := received.find(b"\r\n\r\n")) < 0:
            if len(received) > _MAX_HEAD_BYTES:
                raise PeerFailed("the answer has no end of its headers")
            received += await _read(reader, tls)
        status, headers = _parse_head(bytes(received[:end]))
        size = _body_size(headers, max_bytes)
        del received[: end + 4]
        while len(received) < size:
            received += await _read(reader, tls)
        return Answer(status, headers, bytes(received[:size]))


async def _read(reader: asyncio.StreamReader, tls: TlsConnection) -> bytes:
    data = await reader.read(_READ_BYTES)
    if not data:
        raise ConnectionError("the connection was closed before the answer")
    return b"".join(tls.feed(data))


def _check_endorsed(der: bytes | None, service_certificate: str) -> None:
    if der is None or not endorses(service_certificate, der):
        raise PeerFailed("invalid cert on handshake: the target is not endorsed by the configured service certificate")


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    status_line, *lines = head.decode("latin-1").split("\r\n")
    parts = status_line.split(" ")
    if len(parts) < 2 or not parts[1].isdecimal() or len(parts[1]) != 3:
        raise PeerFailed(f"the answer is not HTTP: {status_line[:80]!r}")
    fields = (line.partition(":") for line in lines)
    return int(parts[1]), {name.strip().lower(): value.strip() for name, _, value in fields}


def _body_size(headers: Mapping[str, str], max_bytes: int) -> int:
    text = headers.get("content-length", "0")
    if not text.isdecimal() or len(text) > 19 or int(text) > max_bytes:
        raise PeerFailed(f"the answer has {text[:40]} bytes, where {max_bytes} are allowed")
    return int(text)
