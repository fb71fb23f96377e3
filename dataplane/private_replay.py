"""The private part of an old ledger, read back once its secrets are known (node-api.md 8.2 step 8).

The whole ledger is read a second time, so the Merkle root must come out as it did the first time: what is taken into
the private state is then what the signatures cover.
"""

from dataplane.crypto.aead import DecryptionFailed
from dataplane.kv.store import Store
from dataplane.kv.tx import Tables
from dataplane.kv.writeset import is_public
from dataplane.ledger.entry import MalformedEntry, decode_entry
from dataplane.ledger.secrets import LedgerSecrets, UnknownSecret
from dataplane.ledger.snapshot import Snapshot
from dataplane.merkle.tree import MerkleTree

_COMPACT_EVERY = 1024


class PrivateReplayFailed(ValueError):
    """The private state cannot be restored: an entry cannot be read, or the ledger is not what it was."""


class PrivateReplay:
    """Follows the private part of a ledger up to its last seqno, `target_seqno`."""

    def __init__(self, secrets: LedgerSecrets, target_seqno: int, root: bytes, begin: Snapshot | None = None) -> None:
        """Begin with seqno 1 or after `begin`, a snapshot with its private tables.

        `root` is the Merkle root over all entries up to `target_seqno`.
        """
        self._secrets = secrets
        self.target_seqno = target_seqno
        self._root = root
        private = {} if begin is None else {name: t for name, t in begin.tables.items() if not is_public(name)}
        self._store = Store(private, 0 if begin is None else begin.seqno)
        self._tree = MerkleTree() if begin is None else begin.tree()

    @property
    def next_seqno(self) -> int:
        """The entry to add next."""
        return self._store.version + 1

    @property
    def last_seqno(self) -> int:
        """How far the replay has come."""
        return self._store.version

    @property
    def is_complete(self) -> bool:
        """Whether everything up to the target was added."""
        return self._store.version >= self.target_seqno

    def add(self, frame: bytes) -> None:
        """Take the next entry; raises `PrivateReplayFailed`."""
        try:
            entry = decode_entry(frame, self._secrets)
        except (MalformedEntry, UnknownSecret, DecryptionFailed) as error:
            raise PrivateReplayFailed(f"seqno {self.next_seqno} cannot be decrypted: {error}") from error
        seqno = entry.txid.seqno
        if seqno != self._store.version + 1:
            raise PrivateReplayFailed(f"{entry.txid} stands where seqno {self.next_seqno} should be")
        self._store.apply(seqno, {table: rows for table, rows in entry.writes.items() if not is_public(table)})
        self._tree.append(entry.leaf)
        if seqno % _COMPACT_EVERY == 0:
            self._store.compact(seqno)
            self._tree.flush(seqno)

    def tables(self) -> Tables:
        """The private tables at the target. Raises `PrivateReplayFailed` where the ledger is not what it was."""
        assert self.is_complete
        if self._tree.root() != self._root:
            raise PrivateReplayFailed(f"the Merkle root at {self.target_seqno} is not that of the public ledger")
        return self._store.tables()
