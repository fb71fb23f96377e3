"""A service in memory for governance tests: a store, real keys and signatures, and a node that does as it is told.

Requests take the way of the node: COSE envelope, authentication, endpoint, and then commit where the answer is 2xx,
discard otherwise. `World.sign` makes the signature transactions that members acknowledge.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from itertools import count
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from dataplane.api.auth import Peer, authenticate
from dataplane.api.gov import endpoints
from dataplane.api.routing import Found, RouteTable
from dataplane.apps.endpoint import Context, Request, Response
from dataplane.config import RecoveryRole
from dataplane.crypto.certs import (
    create_csr,
    endorse_node_csr,
    load_certificate,
    self_signed_client_certificate,
    self_signed_node_certificate,
    self_signed_service_certificate,
)
from dataplane.crypto.cose import sign1
from dataplane.crypto.keys import cert_id, key_id, public_pem
from dataplane.errors import CcfError
from dataplane.governance.managed import managed_constitution
from dataplane.governance.members import NewMember
from dataplane.governance.nodes import NodeDescription, NodeStatus, add_node
from dataplane.governance.service import Genesis, write_genesis
from dataplane.governance.shares import LatestSecret
from dataplane.kv.store import Store
from dataplane.kv.tables import HISTORICAL_ENCRYPTED_LEDGER_SECRET, SIGNATURES, UNIT_KEY, dump_json, put_json
from dataplane.kv.tx import Tx
from dataplane.txid import TxID, TxStatus

NOBODY = Peer()
NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
MEASUREMENT = "Insecure hard-coded virtual measurement v1"
HOST_DATA = sha256(b"executable").hexdigest()
LEDGER_SECRET = bytes(range(32))
YES = "export function vote(proposal, proposerId) { return true; }"
NO = "export function vote(proposal, proposerId) { return false; }"


@dataclass(frozen=True)
class Party:
    """A member or user: certificate, key, and an encryption key where it has one."""

    name: str
    key: ec.EllipticCurvePrivateKey
    cert_pem: str
    encryption_key: rsa.RSAPrivateKey | None
    data: object = None
    role: RecoveryRole | None = None

    @property
    def id(self) -> str:
        return cert_id(self.cert_pem)

    @property
    def encryption_pem(self) -> str | None:
        return None if self.encryption_key is None else public_pem(self.encryption_key.public_key())

    @property
    def peer(self) -> Peer:
        """Its certificate at the other end of a session."""
        der = load_certificate(self.cert_pem).public_bytes(Encoding.DER)
        return Peer(der, self.id)

    def new_member(self) -> NewMember:
        return NewMember(self.cert_pem, self.encryption_pem, self.data, self.role)

    def sign(
        self, message: str, payload: object, created_at_s: int, proposal_id: str | None = None, **protected: object
    ) -> bytes:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        headers: dict[int | str, object] = {
            1: -35,
            4: self.id.encode(),
            "ccf.gov.msg.type": message,
            "ccf.gov.msg.created_at": created_at_s,
        }
        if proposal_id is not None:
            headers["ccf.gov.msg.proposal_id"] = proposal_id
        return sign1(self.key, list((headers | protected).items()), body)


@cache
def _party(name: str, encryption: bool, role: RecoveryRole | None, data_json: str) -> Party:
    key = ec.generate_private_key(ec.SECP384R1())
    cert = self_signed_client_certificate(key, f"CN={name}", 1, NOW - timedelta(days=1), 365)
    encryption_key = rsa.generate_private_key(65537, 2048) if encryption else None
    return Party(name, key, cert, encryption_key, json.loads(data_json), role)


def party(
    name: str, *, encryption: bool = True, operator: bool = False, role: RecoveryRole | None = None, data: object = None
) -> Party:
    """The same party for the same arguments, since RSA keys are slow to make."""
    data = data or ({"is_operator": True} if operator else {"name": name})
    return _party(name, encryption, role, json.dumps(data))


OPERATOR = party("operator", encryption=False, operator=True)


@cache
def service_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


@cache
def service_cert() -> str:
    return self_signed_service_certificate(service_key(), "CN=Test Service,O=Acme", 7, NOW, 90)


@cache
def node_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


@cache
def describe_node(name: str, port: int, measurement: str = MEASUREMENT, host_data: str = HOST_DATA) -> NodeDescription:
    """A virtual node at 127.0.0.1:`port`."""
    key = node_key(name)
    quote = dump_json({"measurement": measurement, "host_data": host_data, "report_data": "AA=="})
    return NodeDescription(
        id=key_id(key.public_key()),
        node_to_node_interface={"bind_address": f"127.0.0.1:{port}", "published_address": f"127.0.0.1:{port}"},
        rpc_interfaces={"main": {"bind_address": f"127.0.0.1:{port + 1}", "published_address": f"n{port}:{port + 1}"}},
        quote_info={"format": "Insecure_Virtual", "quote": _b64(quote), "endorsements": ""},
        measurement=measurement.encode(),
        public_key_pem=public_pem(key.public_key()),
        encryption_public_key_pem=party("enc").encryption_pem or "",
        csr_pem=create_csr(key, f"CN={name}", ["iPAddress:127.0.0.1"]),
    )


@dataclass
class Ops:
    """The node's side of governance, with a fixed secret and seeded randomness."""

    random: Random = field(default_factory=lambda: Random(1))
    secret: LatestSecret = field(default_factory=lambda: LatestSecret(1, LEDGER_SECRET))
    requested: list[str] = field(default_factory=list)
    console: list[tuple[str, str]] = field(default_factory=list)
    service_key: ec.EllipticCurvePrivateKey = field(default_factory=service_key)
    history: list[tuple[int, Any]] = field(default_factory=list)
    sealed: dict[int, bytes] | None = None

    def secret_history(self) -> list[tuple[int, Any]]:
        return self.history

    def unseal(self) -> Callable[[int], bytes | None] | None:
        return None if self.sealed is None else self.sealed.get

    def latest_ledger_secret(self) -> LatestSecret:
        return self.secret

    def now(self) -> datetime:
        return NOW

    def draw(self) -> int:
        return self.random.getrandbits(64)

    def new_serial(self) -> int:
        return self.random.getrandbits(120) + 1

    def request_chunk(self, tx: Tx) -> None:
        self.requested.append("chunk")

    def request_snapshot(self, tx: Tx) -> None:
        self.requested.append("snapshot")

    def log(self, level: str, text: str) -> None:
        self.console.append((level, text))


class Answer:
    """What a request was answered: status, parsed body, error code."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.raw = response.body
        self.content_type = response.headers.get("content-type")
        is_json = self.content_type == "application/json"
        self.body: Any = json.loads(response.body) if is_json else None

    @property
    def code(self) -> str | None:
        return self.body["error"]["code"] if isinstance(self.body, dict) and "error" in self.body else None

    @property
    def message(self) -> str:
        assert isinstance(self.body, dict)
        return str(self.body["error"]["message"])


class World:
    """A service right after genesis, with the members given."""

    def __init__(
        self,
        members: Iterable[Party],
        *,
        threshold: int = 0,
        constitution: str | None = None,
        sample_digest: str | None = None,
    ) -> None:
        self.store = Store()
        self.written: set[str] = set()
        self.ops = Ops()
        self.members = list(members)
        self.clock = count(1_900_000_000)
        self.routes = RouteTable(endpoints(self.ops))
        self.node = describe_node("node0", 9000)
        tx = self.store.begin()
        write_genesis(
            tx,
            Genesis(
                service_cert_pem=service_cert(),
                members=[member.new_member() for member in self.members],
                constitution=constitution or managed_constitution(sample_digest),
                node=self.node,
                node_cert_pem=self_signed_node_certificate(node_key("node0"), "CN=node0", [], 3, NOW, 1),
                recovery_threshold=threshold,
                virtual_measurement=MEASUREMENT,
                virtual_host_data=HOST_DATA,
            ),
        )
        self.commit(tx)
        self.sign()

    # What an endpoint may ask of the node.
    node_id = "self"
    is_primary = True
    primary_id = "self"
    current_view = 2

    def status(self, txid: TxID) -> TxStatus:
        return TxStatus.COMMITTED if txid.seqno <= self.store.version else TxStatus.UNKNOWN

    def commit_txid(self) -> TxID:
        return TxID(2, self.store.version)

    def view_history(self) -> list[int]:
        return [1, 1]

    def view_of(self, seqno: int) -> int | None:
        return 2

    def root_at(self, seqno: int) -> bytes | None:
        return root_at(seqno)

    def now(self) -> datetime:
        return NOW

    def random_bytes(self, number: int) -> bytes:
        return self.ops.random.randbytes(number)

    def commit(self, tx: Tx) -> int:
        self.written.update(tx.writes)
        self.store.commit(tx, self.store.version + 1)
        value = tx.writes.get(HISTORICAL_ENCRYPTED_LEDGER_SECRET, {}).get(UNIT_KEY)
        if value is not None:
            self.ops.history.append((self.store.version, json.loads(value)))
        return self.store.version

    def sign(self) -> None:
        """A signature transaction, as far as governance reads it."""
        tx = self.store.begin()
        put_json(tx, SIGNATURES, {"root": root_at(self.store.version).hex()})
        self.commit(tx)

    def join(self, node: NodeDescription, status: NodeStatus = NodeStatus.PENDING) -> str:
        tx = self.store.begin()
        certificate = None
        if status is NodeStatus.TRUSTED:
            certificate = endorse_node_csr(service_key(), service_cert(), node.csr_pem or "", 5, NOW, 1)
        add_node(tx, node, status, endorsed_certificate_pem=certificate)
        self.commit(tx)
        return node.id

    def get(self, path: str, query: str = "api-version=2024-07-01") -> Answer:
        return self.send("GET", path, b"", query)

    def post(
        self, party: Party, path: str, message: str, payload: object, *, proposal_id: str | None = None,
        created_at_s: int | None = None, query: str = "api-version=2024-07-01",
    ) -> Answer:  # fmt: skip
        when = next(self.clock) if created_at_s is None else created_at_s
        return self.send("POST", path, party.sign(message, payload, when, proposal_id), query)

    def send(
        self,
        method: str,
        path: str,
        body: bytes,
        query: str = "api-version=2024-07-01",
        *,
        peer: Peer = NOBODY,
        content_type: str = "application/cose",
    ) -> Answer:
        """Route, authenticate and run; commit a 2xx answer and discard any other, as the pipeline does."""
        found = self.routes.find(method, path)
        assert isinstance(found, Found), f"no endpoint for {method} {path}"
        headers = {"content-type": content_type} if body else {}
        request = Request(method, f"{path}?{query}", path, query, headers, body, found.params)
        tx = self.store.begin()
        try:
            caller = authenticate(found.endpoint.authn, tx, request, peer, lambda: NOW)
            response = found.endpoint.run(Context(tx, request, caller, self))
        except CcfError as error:
            fault = {"error": {"code": error.code, "message": error.message}}
            response = Response(error.status, dump_json(fault), {"content-type": "application/json"})
        applies = 200 <= response.status < 300 if response.apply_writes is None else response.apply_writes
        if applies and tx.writes:
            self.commit(tx)
        return Answer(response)

    def activate(self, *parties: Party) -> None:
        """Acknowledge the state with each of the members, or all of them."""
        for member in parties or self.members:
            base = f"/members/state-digests/{member.id}"
            digest = self.post(member, f"{base}:update", "state_digest", {})
            assert digest.status == 200, digest.body
            ack = self.post(member, f"{base}:ack", "ack", digest.body)
            assert ack.status == 204, ack.body

    def propose(self, proposer: Party, *actions: Mapping[str, object], created_at_s: int | None = None) -> Answer:
        return self.post(
            proposer, "/members/proposals:create", "proposal", {"actions": list(actions)}, created_at_s=created_at_s
        )

    def vote(self, voter: Party, proposal_id: str, ballot: str = YES) -> Answer:
        path = f"/members/proposals/{proposal_id}/ballots/{voter.id}:submit"
        return self.post(voter, path, "ballot", {"ballot": ballot}, proposal_id=proposal_id)

    def withdraw(self, party: Party, proposal_id: str) -> Answer:
        path = f"/members/proposals/{proposal_id}:withdraw"
        return self.post(party, path, "withdrawal", {}, proposal_id=proposal_id)

    def accept(self, *actions: Mapping[str, object]) -> Answer:
        """Propose and vote with members that have a vote until the proposal leaves Open, or a request fails."""
        voters = [member for member in self.members if not _is_operator(member)]
        answer = self.propose(voters[0], *actions)
        for voter in voters:
            if answer.status != 200 or answer.body["proposalState"] != "Open":
                break
            answer = self.vote(voter, answer.body["proposalId"])
        return answer

    def open(self) -> None:
        answer = self.accept(action("transition_service_to_open", next_service_identity=service_cert()))
        assert answer.status == 200, answer.body

    def read(self, table: str, key: bytes | str = bytes(8)) -> Any:
        """The JSON value in the newest version of a table."""
        value = self.raw(table, key)
        return None if value is None else json.loads(value)

    def raw(self, table: str, key: bytes | str = bytes(8)) -> bytes | None:
        return self.store.begin().get(table, key.encode() if isinstance(key, str) else key)

    def snapshot(self) -> dict[str, list[tuple[bytes, bytes]]]:
        """Every row of every table, to compare before and after."""
        tx = self.store.begin()
        return {name: tx.items(name) for name in sorted(self.written)}


def action(name: str, /, **args: object) -> dict[str, object]:
    """One action of a proposal."""
    return {"name": name, "args": args} if args else {"name": name}


def root_at(seqno: int) -> bytes:
    """The stand-in for the Merkle root after `seqno`."""
    return sha256(b"root %d" % seqno).digest()


def _is_operator(member: Party) -> bool:
    return isinstance(member.data, dict) and member.data.get("is_operator") is True


def _b64(data: bytes) -> str:
    return b64encode(data).decode()
