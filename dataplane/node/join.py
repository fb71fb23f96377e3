"""The joiner's side of `POST /node/join`: ask until the service trusts this node (node-api.md 6.4).

The target must present a certificate that the configured service certificate endorses; the joiner shows its
self-signed one, by which the service recognises it. Answers of class 4xx are final.
"""

import asyncio
import json
import logging
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dataplane.config import Address, JoinCommand
from dataplane.node.peer_http import PeerFailed, Peers
from dataplane.txid import NodeId

_MAX_REDIRECTS = 5
_JSON = {"content-type": "application/json"}

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
    first_recovered_seqno: int | None  # where a recovered service began whose private state is still missing
    addresses: Mapping[NodeId, str]  # an extension of ours: where the nodes of the service can be reached


async def join_service(command: JoinCommand, peers: Peers, request: Mapping[str, object]) -> Admission:
    """Present `request` until this node is trusted. Raises `JoinFailed`."""
    body = json.dumps(request).encode()
    target = command.target_rpc_address
    redirects = 0
    while True:
        try:
            status, headers, answer = await peers.ask(target, "POST", "/node/join", body, _JSON)
        except PeerFailed as error:
            raise JoinFailed(str(error)) from error
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
        first_recovered_seqno=network["last_recovered_signed_idx"] + 1 if network.get("public_only") else None,
        addresses=dict(network.get("node_to_node_addresses") or {}),
    )
