"""`POST /node/join`: a node presents its evidence and is recorded, trusted at once or Pending (node-api.md 6.4)."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from dataplane.apps.endpoint import Context, Response, json_response
from dataplane.attestation.platform import Evidence, InvalidQuote
from dataplane.attestation.registry import Trusted, claimed_measurement, verify_join_evidence
from dataplane.attestation.snp_policy import SnpPolicy
from dataplane.attestation.uvm import UvmEndorsements
from dataplane.crypto.certs import (
    InvalidCertificate,
    csr_public_key,
    endorse_node_csr,
    load_certificate,
    public_key_of,
)
from dataplane.crypto.keys import key_id, load_rsa_public_key, public_pem, spki_der
from dataplane.errors import InternalError, InvalidInput, RpcError
from dataplane.governance.host_calls import ServiceOps
from dataplane.governance.nodes import (
    NodeDescription,
    NodeStatus,
    add_node,
    check_can_join,
    endorsed_certificate,
    find_node,
)
from dataplane.governance.service import ServiceStatus, service_info
from dataplane.kv.tables import (
    NODES_SNP_HOST_DATA,
    NODES_SNP_MEASUREMENTS,
    NODES_SNP_TCB_VERSIONS,
    NODES_SNP_UVM_ENDORSEMENTS,
    NODES_VIRTUAL_HOST_DATA,
    NODES_VIRTUAL_MEASUREMENTS,
    load_json,
)
from dataplane.kv.tx import Tx
from dataplane.txid import NodeId

_TRUSTED_AT_ONCE = frozenset({ServiceStatus.OPENING, ServiceStatus.RECOVERING})

_log = logging.getLogger("node")


class JoinTarget(Protocol):
    """What this endpoint needs of the node."""

    @property
    def is_primary(self) -> bool: ...
    @property
    def startup_seqno(self) -> int:
        """Seqno of the snapshot this node began with, 0 without one."""

    def primary_address(self, interface: str | None) -> str | None: ...
    def first_recovered_seqno(self) -> int | None:
        """Where the service began, while the secrets of the one before are not recovered; else None."""

    def knows_uncommitted_secret(self) -> bool:
        """Whether ledger secrets are on their way: in a rekey that may be rolled back, or to the recovering nodes."""

    def admission(self) -> Mapping[str, Any]:
        """The part of `network_info` every trusted node is given: identity, ledger secrets, addresses."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A joiner, as its certificate and its request describe it."""

    description: NodeDescription
    startup_seqno: int | None
    not_before: datetime
    validity_days: int
    public_key_der: bytes


def join_endpoint(node: JoinTarget, ops: ServiceOps) -> Callable[[Context], Response]:
    """The endpoint's function, for the policy `any_cert`: the joiner is known by its TLS key."""

    def run(context: Context) -> Response:
        assert context.caller is not None, "the endpoint's policy demands a certificate"
        assert context.caller.cert_pem is not None
        return _join(context, node, ops, _candidate(context.request.body, context.caller.cert_pem))

    return run


def _join(context: Context, node: JoinTarget, ops: ServiceOps, candidate: _Candidate) -> Response:
    tx = context.tx
    _check_startup_seqno(node, candidate)
    status = ServiceStatus(service_info(tx)["status"])
    record = find_node(tx, candidate.description.id)
    if record is not None and record["status"] == NodeStatus.TRUSTED:
        if node.knows_uncommitted_secret():  # which must not reach a node that could not forget it again
            return json_response({"node_status": NodeStatus.PENDING, "node_id": candidate.description.id})
        return _trusted(tx, node, candidate.description.id)
    if not node.is_primary:
        return _to_primary(node, context.request.interface)
    check_can_join(tx, candidate.description)
    if record is None:
        _check_evidence(tx, candidate, ops.now())
    if status in _TRUSTED_AT_ONCE:
        return _trust_now(tx, node, ops, candidate)
    if record is None:
        add_node(tx, candidate.description, NodeStatus.PENDING)
    return json_response({"node_status": NodeStatus.PENDING, "node_id": candidate.description.id})


def _check_startup_seqno(node: JoinTarget, candidate: _Candidate) -> None:
    """This node may not hold what came before its own snapshot, nor the secrets of that time."""
    asked, own = candidate.startup_seqno, node.startup_seqno
    if asked is not None and asked < own:
        raise RpcError(
            400,
            "StartupSeqnoIsOld",
            f"Node requested to join from seqno {asked} which is older than this node startup seqno {own}. "
            f"A snapshot at least as recent as {own} must be used instead.",
        )


def _trust_now(tx: Tx, node: JoinTarget, ops: ServiceOps, candidate: _Candidate) -> Response:
    csr = candidate.description.csr_pem
    if csr is None:
        raise InvalidInput("A certificate signing request is needed.")
    certificate = endorse_node_csr(
        ops.service_key,
        service_info(tx)["cert"],
        csr,
        ops.new_serial(),
        candidate.not_before,
        candidate.validity_days,
    )
    add_node(
        tx,
        candidate.description,
        NodeStatus.TRUSTED,
        ledger_secret_seqno=ops.latest_ledger_secret().version,
        endorsed_certificate_pem=certificate,
    )
    return _trusted(tx, node, candidate.description.id)


def _trusted(tx: Tx, node: JoinTarget, node_id: NodeId) -> Response:
    recovered_seqno = node.first_recovered_seqno()
    network = {
        "public_only": recovered_seqno is not None,
        "last_recovered_signed_idx": 0 if recovered_seqno is None else recovered_seqno - 1,
        "service_status": service_info(tx)["status"],
        "endorsed_certificate": endorsed_certificate(tx, node_id),
        **node.admission(),
    }
    return json_response({"node_status": NodeStatus.TRUSTED, "node_id": node_id, "network_info": network})


def _to_primary(node: JoinTarget, interface: str | None) -> Response:
    address = node.primary_address(interface)
    if address is None:
        raise InternalError("The primary is unknown, or has no interface of this name.")
    error = {"code": "NodeCannotHandleRequest", "message": "Node is not primary; cannot handle write"}
    return json_response({"error": error}, 308, {"location": f"https://{address}/node/join"})


def _check_evidence(tx: Tx, candidate: _Candidate, now: datetime) -> None:
    trusted = Trusted(_keys(tx, NODES_VIRTUAL_MEASUREMENTS), _keys(tx, NODES_VIRTUAL_HOST_DATA), _snp_policy(tx))
    reason = verify_join_evidence(candidate.description.quote_info, candidate.public_key_der, trusted, now)
    if reason is not None:
        raise RpcError(401, "InvalidQuote", reason)


def _snp_policy(tx: Tx) -> SnpPolicy:
    roots = [
        UvmEndorsements(did.decode(), feed, endorsed["svn"])
        for did, value in tx.items(NODES_SNP_UVM_ENDORSEMENTS)
        for feed, endorsed in load_json(value).items()
    ]
    versions = {key.decode(): load_json(value) for key, value in tx.items(NODES_SNP_TCB_VERSIONS)}
    return SnpPolicy(_keys(tx, NODES_SNP_HOST_DATA), _keys(tx, NODES_SNP_MEASUREMENTS), roots, versions)


def _keys(tx: Tx, table: str) -> list[str]:
    return [key.decode() for key, _ in tx.items(table)]


def _candidate(body: bytes, certificate_pem: str) -> _Candidate:
    try:
        request = load_json(body)
        certificate = load_certificate(certificate_pem)
        key = public_key_of(certificate)
        csr = request.get("certificate_signing_request")
        if csr is not None and key_id(csr_public_key(csr)) != key_id(key):
            raise RpcError(400, "CSRPublicKeyInvalid", "Public key in CSR does not match TLS public key.")
        validity = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        return _Candidate(
            _description(request, key_id(key), public_pem(key), csr),
            _startup_seqno(request),
            certificate.not_valid_before_utc.astimezone(UTC),
            validity.days + 1,
            spki_der(key),
        )
    except InvalidQuote as error:
        _log.info("Evidence of a joining node: %s", error.message)  # the answer's text is pinned (node-api.md 1.8)
        raise RpcError(401, "InvalidQuote", "Quote could not be verified") from error
    except InvalidCertificate as error:
        raise InvalidInput(f"The certificate or its signing request cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"The join request is malformed: {error!r}") from error


def _description(request: Mapping[str, Any], node_id: NodeId, public_key: str, csr: str | None) -> NodeDescription:
    network, quote = request["node_info_network"], request["quote_info"]
    node_to_node = _published(network["node_to_node_interface"])
    interfaces = {name: _published(interface) for name, interface in network["rpc_interfaces"].items()}
    load_rsa_public_key(request["public_encryption_key"])
    return NodeDescription(
        id=node_id,
        node_to_node_interface=node_to_node,
        rpc_interfaces=interfaces,
        quote_info=quote,
        measurement=claimed_measurement(_evidence(quote)),
        public_key_pem=public_key,
        encryption_public_key_pem=request["public_encryption_key"],
        csr_pem=csr,
        data=request.get("node_data"),
    )


def _evidence(quote_info: Mapping[str, Any]) -> Evidence:
    """What is no evidence at all makes the request malformed; whether evidence is good is judged later."""
    try:
        return Evidence.from_json(quote_info)
    except InvalidQuote as error:
        raise ValueError(error.message) from error


def _startup_seqno(request: Mapping[str, Any]) -> int | None:
    seqno = request.get("startup_seqno")
    if seqno is not None and (type(seqno) is not int or seqno < 0):
        raise ValueError("startup_seqno is no seqno")
    return seqno


def _published(interface: Mapping[str, Any]) -> dict[str, Any]:
    """The interface, published where it is bound unless it says otherwise. Raises `ValueError` for bad addresses."""
    complete = {**interface, "published_address": interface.get("published_address", interface["bind_address"])}
    for name in ("bind_address", "published_address"):
        host, _, port = complete[name].rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError(f"{name} is no address")
    return complete
