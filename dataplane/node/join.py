"""The joiner's side of `POST /node/join`: ask until the service trusts this node (node-api.md 6.4).

The target must present a certificate that the configured service certificate endorses; the joiner shows its
self-signed one, by which the service recognises it. Answers of class 4xx are final.
"""

import asyncio
import contextlib
import json
import logging
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dataplane.config import Address, JoinCommand
from dataplane.crypto.certs import InvalidCertificate, is_issued_by, load_certificate
from dataplane.http.tls import TlsClientContext, TlsConnection, TlsError
from dataplane.node.identity import NodeIdentity
from dataplane.txid import NodeId

_MAX_REDIRECTS = 5
_ANSWER_TIMEOUT_S = 10.0
_READ_BYTES = 65_536

_log = logging.getLogger("node")


class JoinFailed(Exception):
    """The service does not take this node, or cannot be reached; the text is what an operator must see."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What a trusted node is given: the service identity and its ledger secrets, by first seqno."""

    service_certificate: str
    service_key_pem: str = field(repr=False)
    ledger_secrets: Mapping[int, bytes] = field(repr=False)
    endorsed_certificate: str | None
    cose_issuer: str
    cose_subject: str
    addresses: Mapping[NodeId, str]  # an extension of ours: where the nodes of the service can be reached


async def join_service(
    command: JoinCommand,
    identity: NodeIdentity,
    service_certificate: str,
    request: Mapping[str, object],
    connection_timeout_ms: int = 2_000,
) -> Admission:
    """Present `request` until this node is trusted; each connection must stand in time. Raises `JoinFailed`."""
    body = json.dumps(request).encode()
    target = command.target_rpc_address
    redirects = 0
    while True:
        status, headers, answer = await _post(
            target, "/node/join", body, identity, service_certificate, connection_timeout_ms
        )
        if status == 308 and command.follow_redirect and redirects < _MAX_REDIRECTS:
            redirects += 1
            target = _redirect_target(headers)
            continue
        if status >= 400 and not _is_passing(status):
            raise JoinFailed(f"join refused with status {status}: {answer.decode(errors='replace')}")
        if status == 200:
            document = json.loads(answer)
            if document["node_status"] == "Trusted":
                return _admission(document["network_info"])
            _log.info("This node is %s, asking again in %s ms", document["node_status"], command.retry_timeout_ms)
        redirects = 0
        target = command.target_rpc_address
        await asyncio.sleep(command.retry_timeout_ms / 1000)


def _is_passing(status: int) -> bool:
    """5xx may heal: a primary is being elected, say. 4xx does not."""
    return status >= 500


def _redirect_target(headers: Mapping[str, str]) -> Address:
    location = headers.get("location", "")
    host, _, port = location.removeprefix("https://").partition("/")[0].rpartition(":")
    if not host or not port.isdecimal():
        raise JoinFailed(f"join was redirected to {location!r}, which is no address")
    return Address(host, int(port))


def _admission(network: Mapping[str, Any]) -> Admission:
    secrets = {int(version): b64decode(secret["raw_key"]) for version, secret in network["ledger_secrets"]}
    cose = network.get("cose_signatures_config") or {}
    return Admission(
        service_certificate=network["identity"]["cert"],
        service_key_pem=network["identity"]["priv_key"],
        ledger_secrets=secrets,
        endorsed_certificate=network.get("endorsed_certificate"),
        cose_issuer=cose.get("issuer", ""),
        cose_subject=cose.get("subject", ""),
        addresses=dict(network.get("node_to_node_addresses") or {}),
    )


async def _post(
    target: Address,
    path: str,
    body: bytes,
    identity: NodeIdentity,
    service_certificate: str,
    connection_timeout_ms: int,
) -> tuple[int, dict[str, str], bytes]:
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            async with asyncio.timeout(connection_timeout_ms / 1000):
                reader, writer = await asyncio.open_connection(target.host, target.port)
            try:
                tls = TlsClientContext(identity.self_signed_certificate, identity.key_pem).connection()
                return await _exchange(reader, writer, tls, target, path, body, service_certificate)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, TlsError) as error:
        raise JoinFailed(f"cannot reach {target} to join: {error!r}") from error


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    tls: TlsConnection,
    target: Address,
    path: str,
    body: bytes,
    service_certificate: str,
) -> tuple[int, dict[str, str], bytes]:
    writer.write(tls.start())
    received = b""
    while not tls.established:
        received += b"".join(tls.feed(await _read(reader)))
        writer.write(tls.take_ciphertext())
    _check_endorsed(tls.peer_certificate_der, service_certificate)
    fields = f"host: {target}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    writer.write(tls.write(f"POST {path} HTTP/1.1\r\n{fields}\r\n".encode() + body))
    while True:
        answer = _parse(received)
        if answer is not None:
            return answer
        received += b"".join(tls.feed(await _read(reader)))


async def _read(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(_READ_BYTES)
    if not data:
        raise ConnectionError("the connection was closed before the answer")
    return data


def _check_endorsed(der: bytes | None, service_certificate: str) -> None:
    try:
        endorsed = der is not None and is_issued_by(load_certificate(der), load_certificate(service_certificate))
    except InvalidCertificate:
        endorsed = False
    if not endorsed:
        raise JoinFailed("invalid cert on handshake: the target is not endorsed by the configured service certificate")


def _parse(data: bytes) -> tuple[int, dict[str, str], bytes] | None:
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        return None
    status_line, *lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    length = int(headers.get("content-length", "0"))
    return (int(status_line.split(" ")[1]), headers, rest[:length]) if len(rest) >= length else None
