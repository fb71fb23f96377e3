"""The real replica under simulation: store, Merkle tree, entry codec, signatures and receipts.

Nodes have real keys and sign for real, so frames differ from run to run in bytes and length; batches and windows are
therefore counted in entries here, and a trace says nothing of bytes: same seed, same trace.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.consensus.log import Entry, Nodes
from dataplane.consensus.messages import Message
from dataplane.consensus.parameters import Origin, Settings
from dataplane.consensus.raft import Raft
from dataplane.crypto.certs import create_csr, endorse_node_csr, self_signed_service_certificate
from dataplane.crypto.keys import PrivateKey, key_id
from dataplane.kv.tables import (
    ENCRYPTED_LEDGER_SECRETS,
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    SERVICE_INFO,
    UNIT_KEY,
    dump_json,
    get_json,
    load_json,
    put_json,
)
from dataplane.kv.tx import Tx
from dataplane.kv.writeset import WriteSet, is_public
from dataplane.ledger.chunk import Chunker
from dataplane.ledger.entry import EntryFlags, decode_entry
from dataplane.ledger.secrets import LedgerSecrets, SharedSecret
from dataplane.ledger.signatures import build_signature
from dataplane.ledger.snapshot import decode_snapshot, encode_snapshot
from dataplane.private_replay import PrivateReplay
from dataplane.public_replay import PublicReplay
from dataplane.receipt import receipt_from_entries, verify_receipt
from dataplane.replica import Replica, Sign
from dataplane.replica_state import state_from
from dataplane.txid import TxID
from tests.simulation.machine import Begin, Machine, MachineKind, MachineOutput, Snapshot, Written
from tests.simulation.plan import Plan

SECRET = bytes(range(32))
REKEYED = 9  # every so manieth operation is a rekey
AUDITED = 12  # every so manieth transaction of a node gets a receipt at the end of a run
NOT_BEFORE = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Identity:
    """A key and the certificate over it; `id` is the key's."""

    id: str
    key: PrivateKey
    cert: str


@cache
def service() -> Identity:
    """The service of all simulated replicas."""
    key = _key(1)
    return Identity(
        key_id(key.public_key()), key, self_signed_service_certificate(key, "CN=CCF Service", 1, NOT_BEFORE, 365)
    )


@cache
def node(index: int) -> Identity:
    """The identity of the node started as number `index`."""
    key = _key(2 + index)
    csr = create_csr(key, "CN=CCF Node", ["iPAddress:127.0.0.1"])
    cert = endorse_node_csr(service().key, service().cert, csr, 2 + index, NOT_BEFORE, 365)
    return Identity(key_id(key.public_key()), key, cert)


def node_id(index: int) -> str:
    return node(index).id


def make(node_id: str, settings: Settings, rng: random.Random, begin: Begin) -> Machine:
    return ReplicaMachine(node_id, settings, rng, begin)


def prepare(plan: Plan) -> Plan:
    """Batches by entries, not bytes; signatures further apart, as each takes milliseconds on every node."""
    defaults = Settings()
    settings = replace(
        plan.settings,
        max_append_bytes=defaults.max_append_bytes,
        max_in_flight_bytes=defaults.max_in_flight_bytes,
        max_cached_bytes=0 if plan.settings.max_cached_bytes < 1000 else defaults.max_cached_bytes,
    )
    return replace(plan, settings=settings, sign_every_us=4 * plan.sign_every_us, restarts_us=_draw_restarts(plan.seed))


def _draw_restarts(seed: int) -> tuple[int, ...]:
    """When the whole service is lost: in half of the runs, in some of them twice, once soon after the first time."""
    rng = random.Random(seed + 7)
    first_us = rng.randint(1_500_000, 5_000_000)
    return rng.choice(((), (), (first_us,), (first_us, first_us + rng.randint(50_000, 3_000_000))))


def open_secrets(value: bytes) -> Sequence[SharedSecret]:
    """The stand-in for secrets encrypted to each node: plain JSON, first seqno to key, `next` in a rekey."""
    secrets = load_json(value).items()
    return [SharedSecret(None if first == "next" else int(first), bytes.fromhex(key)) for first, key in secrets]


def secret_after_recovery(seqno: int) -> bytes:
    """The ledger secret of a service that a recovery began at `seqno`."""
    return sha256(b"recovered at %d" % seqno).digest()


REPLICAS = MachineKind(make, node_id, prepare)


class ReplicaMachine:
    """A replica with its ledger file in memory. Every so manieth operation of a whole one is a rekey.

    One that recovers a service reads the frames of the old one; the old secrets are handed out with a later operation,
    and whoever commits that reads the private part some outputs later.
    """

    def __init__(self, node_id: str, settings: Settings, rng: random.Random, begin: Begin) -> None:
        self._identity = _identities()[node_id]
        self._settings = settings
        self._rng = rng
        self._frames: list[bytes] = []
        self._begun_seqno = 0
        self._begun_with: dict[str, dict[bytes, bytes | None]] = {}  # rows of the snapshot
        self._recovered_seqno = 0
        self._outputs_to_wait = rng.randint(0, 40) if begin.ledger or begin.recovered else 0
        self._secrets = LedgerSecrets()
        raft = self._raft(Raft.start if begin.first and not begin.ledger else Raft.join)
        self._replica = Replica(
            raft=raft,
            secrets=self._secrets,
            chunker=Chunker(20_000),
            sign=signer(self._identity),
            open_secrets=open_secrets,
        )
        if begin.ledger:
            self._recover(begin.ledger)
        elif begin.snapshot is not None:
            self._restore(begin.snapshot, settings, rng)
        elif begin.recovered:
            self._begin_recovery(begin.recovered)
        else:
            self._secrets.add(1, SECRET)

    @property
    def raft(self) -> Raft:
        return self._replica.raft

    @property
    def whole(self) -> bool:
        return not self._replica.lacks_private_state

    def _raft(self, begin: Callable[..., Raft], **where: Any) -> Raft:
        return begin(
            node_id=self._identity.id, settings=self._settings, draw=self._rng.randint, read=self._read, **where
        )

    def _restore(self, snapshot: Snapshot, settings: Settings, rng: random.Random) -> None:
        frame, secrets = cast(tuple[bytes, dict[int, bytes]], snapshot.state)
        for version, key in secrets.items():
            self._secrets.add(version, key)
        self._secrets.settle()
        state = state_from(decode_snapshot(frame, self._secrets))
        self._replica.restore(self._raft(Raft.join, origin=state.origin()), state, Chunker(20_000, state.seqno))
        self._begun_seqno = state.seqno
        self._begun_with = {
            name: {key: value for key, (_, value) in table.rows.items()} for name, table in state.tables.items()
        }
        self._frames = list(snapshot.ledger) or [b""] * state.seqno

    def _recover(self, ledger: Sequence[bytes]) -> None:
        """Lead a new service from the last signature in the frames of the old one."""
        replay = PublicReplay()
        for frame in ledger:
            replay.add(frame)
        assert replay.verify_end(), "the old ledger does not end with a signature that holds"
        state = replay.state()
        self._frames = list(ledger[: state.seqno])
        origin = Origin(state.seqno, state.view_history)
        raft = self._raft(Raft.start, origin=origin, view=len(state.view_history) + 2)
        self._replica.restore(raft, state, Chunker(20_000, state.seqno))
        self._begin_recovery(state.seqno + 1)

    def _begin_recovery(self, seqno: int) -> None:
        self._recovered_seqno = seqno
        self._secrets.add(seqno, secret_after_recovery(seqno))
        self._secrets.settle()
        self._replica.begin_recovery(seqno)

    def tick(self, elapsed_ms: int) -> None:
        self._replica.tick(elapsed_ms)

    def resume(self, absent_ms: int) -> None:
        self._replica.resume(absent_ms)

    def receive(self, sender: str, message: Message) -> None:
        self._replica.receive(sender, message)

    def persisted(self, seqno: int) -> None:
        self._replica.persisted(seqno)

    def submit(self, operation: int) -> TxID:
        """One public and one private write, every second time with claims."""
        tx = self._replica.begin()
        key = b"%d" % (operation % 50)
        tx.put("public:records", key, b"operation %d" % operation)
        tx.put("records", key, bytes(operation % 40))
        if operation % 2:
            tx.claims_digest = sha256(key).digest()
        if operation % REKEYED == 0:
            self._change_secrets(tx, operation)
        return self._replica.submit(tx)

    def _change_secrets(self, tx: Tx, operation: int) -> None:
        """A rekey or, while the old secrets of a recovered service are missing, those."""
        if self.whole:
            put_json(tx, ENCRYPTED_LEDGER_SECRETS, {"next": sha256(b"rekey %d" % operation).hexdigest()})
        elif self._replica.handed_out is None:
            old = _secrets_in(self._frames[: self._recovered_seqno - 1])
            put_json(tx, ENCRYPTED_LEDGER_SECRETS, {str(version): key.hex() for version, key in old.items()})

    def _read_private(self) -> None:
        """Once the old secrets are committed, and some outputs later, as reading takes its time."""
        handed_out = self._replica.handed_out
        if self.whole or handed_out is None or handed_out[0] > self.raft.commit_seqno:
            return
        self._outputs_to_wait -= 1
        if self._outputs_to_wait > 0:
            return
        self._secrets.restore({secret.version or 0: secret.key for secret in open_secrets(handed_out[1])})
        replay = PrivateReplay(self._secrets, self._recovered_seqno - 1, self._replica.recovery_root)
        for frame in self._frames[: self._recovered_seqno - 1]:
            replay.add(frame)
        self._replica.adopt_private(replay.tables())

    def reconfigure(self, nodes: Nodes) -> TxID:
        first_of_recovered = self.raft.last_seqno + 1 == self._recovered_seqno
        flags = EntryFlags.CHUNK_BEFORE if first_of_recovered else EntryFlags.NONE
        return reconfigure(self._replica, nodes, flags)

    def retire(self, node_ids: tuple[str, ...]) -> None:
        tx = self._replica.begin()
        for node_id in node_ids:
            key = node_id.encode()
            put_json(tx, NODES_INFO, get_json(tx, NODES_INFO, key) | {"retired_committed": True}, key)
        self._replica.submit(tx)

    def sign(self) -> None:
        self._replica.sign()

    def take_output(self) -> MachineOutput:
        duties = self._replica.take_duties()
        self._read_private()
        assert duties.refused is None, f"an honest entry was refused: {duties.refused}"
        if duties.truncate_after is not None:
            del self._frames[duties.truncate_after :]
        written = []
        for frame in duties.write:
            assert frame.seqno == len(self._frames) + 1
            self._frames.append(frame.data)
            (entry,) = self._replica.entries([frame.data], frame.seqno)
            root = self._replica.root_at(frame.seqno)
            assert root is not None
            written.append(Written(entry, root + sha256(frame.data).digest()))
        return MachineOutput(duties.truncate_after, written, duties.sync, duties.send, duties.commit, duties.became)

    def snapshot(self) -> Snapshot:
        """At the commit, where the committed tables and the first leaf that the tree still knows are."""
        replica, seqno = self._replica, self.raft.commit_seqno
        history = tuple(start for start in self.raft.view_history if start <= seqno)
        tables = replica.store.committed_tables()
        frame = encode_snapshot(seqno, replica.tree.leaf(seqno), history, tables, self._secrets.at(seqno))
        secrets = {version: key for version, key in self._secrets if version <= seqno + 1}
        return Snapshot(seqno, sha256(frame).digest(), (frame, secrets))

    def kept(self, seqno: int) -> object | None:
        """What this machine's ledger holds."""
        return self._frames[seqno - 1] or None

    def audit(self) -> None:
        """Receipts of committed transactions verify, and the store is what snapshot and ledger say."""
        begun_seqno = self._begun_seqno
        decoded = {
            seqno: decode_entry(frame, self._secrets if self.whole or seqno >= self._recovered_seqno else None)
            for seqno, frame in enumerate(self._frames, 1)
            if seqno > begun_seqno
        }
        start = begun_seqno + 1 + int(self._identity.id[:4], 16) % AUDITED
        for seqno in range(start, self.raft.commit_seqno + 1, AUDITED):
            if not self.whole and seqno < self._recovered_seqno:
                continue
            entry = decoded[seqno]
            signature_seqno = self._replica.signature_after(seqno)
            if signature_seqno is None or signature_seqno > self.raft.commit_seqno:
                continue
            secret = self._secrets.at(entry.txid.seqno)
            receipt = receipt_from_entries(entry, secret, decoded[signature_seqno].writes)
            proven = verify_receipt(receipt, service().cert)
            assert proven.txid == entry.txid, f"the receipt of {entry.txid} is about {proven.txid}"
        self._audit_store([self._begun_with, *(entry.writes for entry in decoded.values())])

    def _audit_store(self, history: Sequence[WriteSet]) -> None:
        expected: WriteSet = {}
        for writes in history:  # none of which removes a key
            for table, rows in writes.items():
                expected.setdefault(table, {}).update(rows)
        tx = self._replica.begin()
        for table, rows in expected.items():
            if not self.whole and not is_public(table):
                continue
            assert dict(tx.items(table)) == rows, f"{table} is not what the ledger says"

    def _read(self, first: int, last: int) -> Sequence[Entry]:
        frames = self._frames[first - 1 : last]
        return self._replica.entries(frames, first) if all(frames) else ()


def reconfigure(replica: Replica, nodes: Nodes, flags: EntryFlags = EntryFlags.NONE) -> TxID:
    """Trust these nodes and retire the others."""
    tx = replica.begin()
    if tx.get(SERVICE_INFO, UNIT_KEY) is None:
        tx.put(SERVICE_INFO, UNIT_KEY, dump_json({"cert": service().cert, "status": "Opening"}))
    for key, _ in tx.items(NODES_INFO):
        if key.decode() not in dict(nodes):
            put_json(tx, NODES_INFO, get_json(tx, NODES_INFO, key) | {"status": "Retired"}, key)
    for node_id, address in nodes:
        record = {"status": "Trusted", "node_to_node_interface": {"published_address": address}}
        put_json(tx, NODES_INFO, record, node_id.encode())
        tx.put(NODES_ENDORSED_CERTIFICATES, node_id.encode(), _identities()[node_id].cert.encode())
    return replica.submit(tx, flags)


def signer(identity: Identity) -> Sign:
    """What a replica of this node signs with."""

    def sign(txid: TxID, root: bytes, tree_bytes: bytes) -> WriteSet:
        return build_signature(
            txid,
            root,
            node_id=identity.id,
            node_key=identity.key,
            node_cert_pem=identity.cert,
            service_key=service().key,
            issuer="service.example.com",
            subject="ledger.signature",
            issued_at_s=1_760_000_000,
            tree_bytes=tree_bytes,
        )

    return sign


def _secrets_in(frames: Sequence[bytes]) -> dict[int, bytes]:
    """Every ledger secret of these entries, which tell of each where it began."""
    secrets = {1: SECRET}
    for frame in frames:
        entry = decode_entry(frame)
        if entry.flags & EntryFlags.CHUNK_BEFORE:
            secrets[entry.txid.seqno] = secret_after_recovery(entry.txid.seqno)
        for secret in open_secrets(entry.writes.get(ENCRYPTED_LEDGER_SECRETS, {}).get(UNIT_KEY) or b"{}"):
            if secret.version is None:
                secrets[entry.txid.seqno + 1] = secret.key
    return secrets


@cache
def _identities() -> dict[str, Identity]:
    """Identities by id, enough for any run."""
    return {node(index).id: node(index) for index in range(60)}


def _key(number: int) -> PrivateKey:
    return ec.derive_private_key(0x5EED << 300 | number, ec.SECP384R1())
