"""The pure node: consensus, store, Merkle tree and entry codec as one machine.

The same verbs as `Raft`, one level up: transactions in, frames to write and messages to send out. An entry from the
leader is decoded, checked and applied before it is written or acknowledged; the first that does not hold is refused
with everything after it. Signing, like disk and clock, is an argument: `sign` is called with the transaction id, the
root and the serialised tree, and gives the writes of the signature transaction (ledger-format.md 2.5 to 2.8).

Over 400 lines, because store, tree and consensus must move together: own entries, a leader's and rollbacks are one
invariant.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dataplane.consensus.log import Entry, Nodes
from dataplane.consensus.messages import Message
from dataplane.consensus.output import Became, Leadership, Output, SignatureDue
from dataplane.consensus.raft import NotLeader, Raft
from dataplane.crypto.aead import DecryptionFailed
from dataplane.kv.store import Store
from dataplane.kv.tables import (
    ENCRYPTED_LEDGER_SECRETS,
    HISTORICAL_ENCRYPTED_LEDGER_SECRET,
    NODES_ENDORSED_CERTIFICATES,
    NODES_INFO,
    SERVICE_INFO,
    UNIT_KEY,
    get_json,
    load_json,
)
from dataplane.kv.tx import Tables, Tx
from dataplane.kv.writeset import WriteSet, is_public
from dataplane.ledger.chunk import Chunker
from dataplane.ledger.entry import NO_CLAIMS, EntryFlags, MalformedEntry, decode_entry, encode_entry, frame_size
from dataplane.ledger.secrets import LedgerSecrets, MalformedSecret, SharedSecret, UnknownSecret
from dataplane.ledger.signatures import InvalidSignatureTx, is_signature, node_signature, verify_signature
from dataplane.merkle.tree import MerkleTree
from dataplane.replica_state import State, trusted_nodes
from dataplane.txid import NodeId, TxID

Sign = Callable[[TxID, bytes, bytes], WriteSet]
"""(transaction id, root, serialised tree) -> the writes of the signature transaction."""

OpenSecrets = Callable[[bytes], Sequence[SharedSecret]]
"""A value of `encrypted_ledger_secrets` -> what it holds for this node. Raises `MalformedSecret`."""


def no_secrets(value: bytes) -> Sequence[SharedSecret]:
    """For a node that is handed no secrets through the ledger."""
    return ()


MAX_ENTRY_BYTES = 64 << 20  # drop-in.md 3.3, memory.max_msg_size


class EntryTooLarge(Exception):
    """A transaction is larger than any node of the service may take; nothing was appended."""

    def __init__(self, txid: TxID, size: int, limit: int) -> None:
        super().__init__(f"Transaction {txid} has {size} bytes, more than the {limit} a node may take")


@dataclass(frozen=True, slots=True)
class Frame:
    """One entry to write to the ledger file."""

    seqno: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Capture:
    """The state a snapshot is made of, held at the signature `txid`: values that nothing changes any more.

    Taken before the signature is committed; to be used once it is, and dropped when it never will be.
    """

    txid: TxID
    leaf: bytes
    view_history: tuple[int, ...]
    tables: Tables


@dataclass(frozen=True, slots=True)
class Duties:
    """What the shell does after an input, in this order; see `consensus.output.Output`.

    `refused` tells why an entry of the leader was not taken, for the log.
    """

    truncate_after: int | None
    write: tuple[Frame, ...]
    sync: bool
    send: tuple[tuple[NodeId, Message], ...]
    commit: int | None
    became: tuple[Became, ...]
    refused: str | None


class Replica:
    """One replica of a service. All calls come from one thread; none blocks."""

    def __init__(
        self,
        *,
        raft: Raft,
        secrets: LedgerSecrets,
        chunker: Chunker,
        sign: Sign,
        open_secrets: OpenSecrets = no_secrets,
        max_entry_bytes: int = MAX_ENTRY_BYTES,
    ) -> None:
        self.raft = raft
        self.store = Store()
        self.tree = MerkleTree()
        self.secrets = secrets
        self._chunker = chunker
        self._sign = sign
        self._open_secrets = open_secrets
        self._max_entry_bytes = max_entry_bytes
        self._signed: list[int] = []  # seqnos of all signature transactions, ascending
        self._marks: dict[int, tuple[Nodes | None, tuple[NodeId, ...]]] = {}  # membership marks by seqno
        self._configuration: Nodes = ()
        self._signature_due = False
        self._snapshot_wanted = False
        self._capture: Capture | None = None
        self._origin_seqno = 0  # entries up to here were not applied by us
        self.secret_history: list[tuple[int, bytes]] = []  # writes of the table of historical ledger secrets
        self._public_before = 0  # of entries before this seqno only the public part can be read
        self.recovery_root = b""  # over all entries before it
        self._private_writes: list[tuple[int, WriteSet]] = []  # made since, while the private state is missing
        self.handed_out: tuple[int, bytes] | None = None  # where the old secrets were given to the nodes, and how
        # What take_duties will hand out
        self._write: list[Frame] = []
        self._written_seqno = 0  # the shell holds frames up to here
        self._truncate_after: int | None = None
        self._sync = False
        self._send: list[tuple[NodeId, Message]] = []
        self._commit: int | None = None
        self._became: list[Became] = []
        self._refused: str | None = None

    def restore(self, raft: Raft, state: State, chunker: Chunker) -> None:
        """Begin at `state` in place of an empty ledger; `raft` has the state's origin, `chunker` its seqno.

        The replica takes the state's tree as its own. Nothing may have been applied before.
        """
        assert self.store.version == 0, "only an empty replica can be restored"
        assert raft.last_seqno == state.seqno == state.tree.size - 1, "consensus and tree begin elsewhere"
        self.raft = raft
        self.store = Store(state.tables, state.seqno)
        self.tree = state.tree
        self._chunker = chunker
        self._origin_seqno = self._written_seqno = state.seqno
        self._signed = list(state.signed)
        self.secret_history = list(state.secret_history())
        self._configuration = trusted_nodes(state.tables)

    # Recovery

    def begin_recovery(self, first_seqno: int) -> None:
        """A recovered service begins at `first_seqno`: of earlier entries only the public part can be read so far."""
        self._public_before = first_seqno
        if self.store.version == first_seqno - 1:
            self.recovery_root = self.tree.root()

    @property
    def lacks_private_state(self) -> bool:
        """Whether private tables of the time before a recovery are still missing."""
        return self._public_before > 0

    def adopt_private(self, tables: Tables) -> None:
        """The private `tables` as they were before the recovery; what was written to them since is applied to them."""
        self.store.adopt(tables, self._private_writes)
        self._private_writes.clear()
        self._public_before = 0

    # Inputs

    def begin(self) -> Tx:
        """A transaction at the newest state of this replica, committed or not."""
        return self.store.begin()

    def submit(self, tx: Tx, flags: EntryFlags = EntryFlags.NONE) -> TxID:
        """Append the writes of `tx` as the next transaction.

        Raises `NotLeader`, `Conflict` or `EntryTooLarge`, changing nothing.
        """
        if self.raft.role is not Leadership.LEADER:
            raise NotLeader(self.raft.leader_id)
        self.store.check(tx)
        txid = self._next_txid()
        self._append_own(txid, tx.writes, tx.claims_digest or NO_CLAIMS, flags)
        return txid

    def sign(self) -> TxID:
        """Append a signature transaction over everything before it. Raises `NotLeader`."""
        if self.raft.role is not Leadership.LEADER:
            raise NotLeader(self.raft.leader_id)
        txid = self._next_txid()
        tree_bytes = self.tree.serialise(self.raft.commit_seqno, txid.seqno - 1)
        writes = self._sign(txid, self.tree.root(), tree_bytes)
        self._append_own(txid, writes, NO_CLAIMS, self._chunker.flags_at(txid.seqno))
        self._signature_due = False
        if self._snapshot_wanted:
            self._snapshot_wanted = False
            leaf = self.tree.leaf(txid.seqno)
            self._capture = Capture(txid, leaf, tuple(self.raft.view_history), self.store.tables())
        return txid

    def tick(self, elapsed_ms: int) -> None:
        """Let time pass."""
        self.raft.tick(elapsed_ms)
        self._absorb(self.raft.take_output())

    def resume(self, absent_ms: int) -> None:
        """Let time pass during which the shell could not call; see `Raft.resume`."""
        self.raft.resume(absent_ms)
        self._absorb(self.raft.take_output())

    def receive(self, sender: NodeId, message: Message) -> None:
        """A consensus message from an authenticated node."""
        self.raft.receive(sender, message)
        self._absorb(self.raft.take_output())

    def persisted(self, seqno: int) -> None:
        """Frames up to `seqno` are durable."""
        self.raft.persisted(seqno)
        self._absorb(self.raft.take_output())

    def request_chunk(self) -> None:
        """End the chunk at the next signature."""
        self._chunker.request(self.raft.last_seqno)

    def request_snapshot(self) -> None:
        """Hold the state at the next signature, which also ends the chunk (ledger-format.md 1.3)."""
        self._snapshot_wanted = True
        self.request_chunk()

    @property
    def holds_capture(self) -> bool:
        """Whether a state is held that nobody has taken yet, or asked for at the next signature."""
        return self._snapshot_wanted or self._capture is not None

    def take_capture(self) -> Capture | None:
        """The state that was asked for, once its signature is committed. It is lost where the signature is."""
        capture = self._capture
        if capture is None or capture.txid.seqno > self.raft.commit_seqno:
            return None
        self._capture = None
        return capture if self.txid_at(capture.txid.seqno) == capture.txid else None

    def resign(self) -> tuple[tuple[NodeId, Message], ...]:
        """For an owner that cannot write any more: lead no longer; what to send, so that another node leads at once.

        The last input: of what happens here nothing is on the disk from now on.
        """
        self.raft.resign()
        return self.raft.take_output().send

    def take_duties(self) -> Duties:
        """Everything to do since the last call."""
        self._absorb(self.raft.take_output())
        duties = Duties(
            truncate_after=self._truncate_after,
            write=tuple(self._write),
            sync=self._sync,
            send=tuple(self._send),
            commit=self._commit,
            became=tuple(self._became),
            refused=self._refused,
        )
        if self._write:
            self._written_seqno = self._write[-1].seqno
        self._truncate_after = self._commit = self._refused = None
        self._sync = False
        self._write.clear()
        self._send.clear()
        self._became.clear()
        return duties

    # What is known

    @property
    def is_leader(self) -> bool:
        return self.raft.role is Leadership.LEADER

    @property
    def origin_seqno(self) -> int:
        """The last seqno of the state this replica began at; signatures before it are not known."""
        return self._origin_seqno

    @property
    def unsigned_count(self) -> int:
        """Entries after the last signature transaction."""
        return self.raft.last_seqno - self.last_signed_seqno

    @property
    def signature_due(self) -> bool:
        """Whether consensus asked for a signature (a new leader opens its view with one)."""
        return self._signature_due and self.is_leader

    @property
    def last_signed_seqno(self) -> int:
        """Seqno of the newest signature transaction, 0 before the first."""
        return self._signed[-1] if self._signed else 0

    def txid_at(self, seqno: int) -> TxID:
        """The transaction id of a seqno in this replica's ledger."""
        return TxID(self.raft.view_at(seqno), seqno)

    def signature_after(self, seqno: int) -> int | None:
        """The nearest signature transaction later than `seqno`."""
        index = bisect_right(self._signed, seqno)
        return self._signed[index] if index < len(self._signed) else None

    def is_signature_at(self, seqno: int) -> bool:
        """Whether `seqno` is a signature transaction."""
        return self.signature_after(seqno - 1) == seqno

    def root_at(self, seqno: int) -> bytes | None:
        """The root over leaves 0..`seqno`, None where the tree no longer or not yet reaches it."""
        try:
            return self.tree.root_at(seqno + 1)
        except IndexError:
            return None

    def entries(self, frames: Sequence[bytes], first: int) -> list[Entry]:
        """Frames read back from the ledger, from seqno `first` on, as consensus wants them."""
        return [self._entry(seqno, frame) for seqno, frame in enumerate(frames, start=first)]

    # Own entries

    def _next_txid(self) -> TxID:
        return TxID(self.raft.view, self.raft.last_seqno + 1)

    def _append_own(self, txid: TxID, writes: WriteSet, claims_digest: bytes, flags: EntryFlags) -> None:
        encoded = encode_entry(
            txid, writes, secret=self.secrets.at(txid.seqno), claims_digest=claims_digest, flags=flags
        )
        if len(encoded.frame) > self._max_entry_bytes:
            raise EntryTooLarge(txid, len(encoded.frame), self._max_entry_bytes)
        self._learn_secret(txid.seqno, writes)
        signed = self._apply(txid.seqno, encoded.frame, encoded.leaf, writes)
        configuration, retired = self._marks.get(txid.seqno, (None, ()))
        self.raft.propose(Entry(txid.view, txid.seqno, encoded.frame, signed, configuration, retired))
        self._write.append(Frame(txid.seqno, encoded.frame))
        self._sync = self._sync or signed

    # Entries of the leader

    def _absorb(self, output: Output) -> None:
        if output.truncate_after is not None:
            self._roll_back(output.truncate_after)
        for entry in output.append:
            reason = self._take(entry)
            if reason is not None:
                self._refused = f"{entry.view}.{entry.seqno}: {reason}"
                self.raft.reject_after(entry.seqno - 1)
                self._roll_back(entry.seqno - 1)
                break
        self._sync = self._sync or output.sync
        self._send.extend(output.send)
        if output.commit is not None:
            self._commit = output.commit
            self.store.compact(output.commit)
            self.tree.flush(output.commit)
            self._chunker.compact(output.commit)
        for change in output.became:
            self._signature_due = self._signature_due or isinstance(change, SignatureDue)
            self._became.append(change)

    def _take(self, entry: Entry) -> str | None:
        """Check and apply one entry; what is wrong with it, or None."""
        try:
            decoded = decode_entry(entry.data, self.secrets if entry.seqno >= self._public_before else None)
        except (MalformedEntry, UnknownSecret, DecryptionFailed) as error:
            return str(error)
        if decoded.txid != TxID(entry.view, entry.seqno) or decoded.txid.seqno != self.store.version + 1:
            return f"the frame holds {decoded.txid}"
        if is_signature(decoded.writes) is not entry.signed:
            return "only signature transactions are marked as signed"
        if entry.signed:
            try:
                self._check_signature(decoded.txid, decoded.writes)
            except InvalidSignatureTx as error:
                return str(error)
        try:
            self._learn_secret(entry.seqno, decoded.writes)
        except MalformedSecret as error:
            return str(error)
        self._apply(entry.seqno, entry.data, decoded.leaf, decoded.writes)
        marks = self._marks.get(entry.seqno, (None, ()))
        if marks != (entry.configuration, entry.retired_committed):
            self.raft.correct_marks(entry.seqno, *marks)
        self._write.append(Frame(entry.seqno, entry.data))
        return None

    def _check_signature(self, txid: TxID, writes: WriteSet) -> None:
        tx = self.store.begin()
        node = node_signature(writes)
        cert = None if node is None else _certificate(tx, node.node_id)
        service = get_json(tx, SERVICE_INFO)
        verify_signature(
            txid,
            writes,
            self.tree.root(),
            node_cert_pem=None if cert is None else cert.decode(),
            service_cert_pem=None if service is None else service["cert"],
        )

    # Both

    def _apply(self, seqno: int, frame: bytes, leaf: bytes, writes: WriteSet) -> bool:
        """Apply an entry to store, tree and chunker; whether it is a signature transaction."""
        if self._public_before:
            self._note_recovery(seqno, writes)
        self.store.apply(seqno, writes)
        self.tree.append(leaf)
        size, flags = frame_size(frame)
        self._chunker.appended(seqno, size, flags)
        if NODES_INFO in writes:
            self._note_membership(seqno, writes[NODES_INFO])
        signed = is_signature(writes)
        if signed:
            self._signed.append(seqno)
        return signed

    def _note_recovery(self, seqno: int, writes: WriteSet) -> None:
        if seqno == self._public_before:
            self.recovery_root = self.tree.root()
        elif seqno > self._public_before:
            if self.handed_out is None and ENCRYPTED_LEDGER_SECRETS in writes:
                self.handed_out = (seqno, writes[ENCRYPTED_LEDGER_SECRETS].get(UNIT_KEY) or b"")
            private = {table: rows for table, rows in writes.items() if not is_public(table)}
            if private:
                self._private_writes.append((seqno, private))

    def _learn_secret(self, seqno: int, writes: WriteSet) -> None:
        """A rekey at `seqno` brings the secret of what follows (ledger-format.md 6.1). Raises `MalformedSecret`."""
        history = writes.get(HISTORICAL_ENCRYPTED_LEDGER_SECRET, {}).get(UNIT_KEY)
        if history is not None:
            self.secret_history.append((seqno, history))
        value = writes.get(ENCRYPTED_LEDGER_SECRETS, {}).get(UNIT_KEY)
        if value is None or seqno < self._public_before or self.secrets.has(seqno + 1):
            return  # a joiner was given it beforehand, or will be with all that is from before a recovery
        for secret in self._open_secrets(value):
            if secret.version is None:
                self.secrets.add(seqno + 1, secret.key)

    def _note_membership(self, seqno: int, rows: dict[bytes, bytes | None]) -> None:
        configuration = trusted_nodes(self.store.tables())
        retired = tuple(
            sorted(key.decode() for key, row in rows.items() if row and load_json(row).get("retired_committed"))
        )
        changed = configuration != self._configuration
        if changed or retired:
            self._marks[seqno] = (configuration if changed else None, retired)
        self._configuration = configuration

    def _roll_back(self, seqno: int) -> None:
        if seqno >= self.store.version:
            return
        self.store.rollback(seqno)
        self.tree.truncate(seqno + 1)
        self.secrets.rollback(seqno)
        if self._capture is not None and self._capture.txid.seqno > seqno:
            self._capture = None
        self.secret_history = [write for write in self.secret_history if write[0] <= seqno]
        self._private_writes = [write for write in self._private_writes if write[0] <= seqno]
        if self.handed_out is not None and self.handed_out[0] > seqno:
            self.handed_out = None
        self._chunker.rollback(seqno)
        while self._signed and self._signed[-1] > seqno:
            self._signed.pop()
        for marked in [marked for marked in self._marks if marked > seqno]:
            del self._marks[marked]
        self._configuration = trusted_nodes(self.store.tables())
        self._write = [frame for frame in self._write if frame.seqno <= seqno]
        if seqno < self._written_seqno:
            self._truncate_after = seqno
            self._written_seqno = seqno

    def _entry(self, seqno: int, frame: bytes) -> Entry:
        if seqno <= self._origin_seqno:
            # What it marks depends on a state we never had; who takes it finds out (`Raft.correct_marks`).
            return Entry(self.raft.view_at(seqno), seqno, frame, is_signature(decode_entry(frame).writes))
        configuration, retired = self._marks.get(seqno, (None, ()))
        return Entry(self.raft.view_at(seqno), seqno, frame, self.is_signature_at(seqno), configuration, retired)


def _certificate(tx: Tx, node_id: NodeId) -> bytes | None:
    """The certificate a node signs with: endorsed by the service, or of its own in ledgers of CCF 1.x."""
    endorsed = tx.get(NODES_ENDORSED_CERTIFICATES, node_id.encode())
    if endorsed is not None:
        return endorsed
    own = (get_json(tx, NODES_INFO, node_id.encode()) or {}).get("cert")
    return None if own is None else str(own).encode()
