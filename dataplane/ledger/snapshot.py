"""A snapshot: the whole store at the seqno of a signature, as one frame (ledger-format.md 5.2, 5.3).

Equal states give equal bytes: tables by name, keys by a hash that every node computes alike. What makes the bytes
trusted follows them in the file: the receipt of the transaction that put their digest into the ledger (5.4).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

import immutables

from dataplane.crypto.aead import TAG_SIZE
from dataplane.crypto.siphash import siphash_all
from dataplane.kv.tables import TREE, UNIT_KEY
from dataplane.kv.tx import Rows, Table, Tables
from dataplane.kv.writeset import is_public
from dataplane.ledger.entry import FORMAT_VERSION, HEADER_SIZE, MAX_SIZE, EntryType, MalformedEntry, frame_size
from dataplane.ledger.secrets import LedgerSecretCipher, LedgerSecrets
from dataplane.merkle.tree import DIGEST_SIZE, MalformedTree, MerkleTree

_IV = Struct("<QI")
_IV_VIEW = 0x80000000  # view 0, and the bit that tells a snapshot from a transaction
_U64 = Struct("<Q")
_PAIR = Struct("<QQ")
_HEAD = Struct("<BQQQ32sQ")  # type, seqno, no digests, size of the leaf, the leaf, size of the view history
_FIXED_SIZE = HEADER_SIZE + TAG_SIZE + _IV.size + _U64.size
_BUCKET_ROWS = 256  # about half a millisecond of work
_PADDING = tuple(bytes(size) for size in range(8))
_TOMBSTONE = 1 << 63  # in a version: CCF 1.x kept removed keys


class MalformedSnapshot(ValueError):
    """The bytes are not a snapshot."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot holds. `tables` lack the private ones when it was decoded without secrets.

    leaf: of the transaction at `seqno` (32 bytes). view_history: element i is the first seqno of view i+1. digest:
    SHA-256 of the frame, what its evidence claims.
    """

    seqno: int
    leaf: bytes
    view_history: tuple[int, ...]
    tables: Tables
    digest: bytes

    def tree(self) -> MerkleTree:
        """The Merkle tree over leaves 0..`seqno`; raises `MalformedSnapshot`."""
        row = self.tables[TREE].rows.get(UNIT_KEY) if TREE in self.tables else None
        if row is None:
            raise MalformedSnapshot("the snapshot holds no tree")
        try:
            tree = MerkleTree.deserialise(row[1])
        except MalformedTree as error:
            raise MalformedSnapshot(str(error)) from error
        if tree.size != self.seqno:
            raise MalformedSnapshot(f"the tree has {tree.size} leaves, the snapshot is at {self.seqno}")
        tree.append(self.leaf)
        return tree


class SnapshotFile(NamedTuple):
    """A file in its two parts. `receipt` is empty in those of CCF 1.x."""

    frame: bytes
    receipt: bytes


def encode_snapshot(
    seqno: int,
    leaf: bytes,
    view_history: tuple[int, ...],
    tables: Tables,
    secret: LedgerSecretCipher,
    pause: Callable[[], None] = lambda: None,
) -> bytes:
    """The frame of `tables` as they were at `seqno`, under the ledger secret of that seqno.

    Reads immutable values only, so it may run in another thread; `pause` is called every millisecond or so of work, so
    that it can let others have the interpreter. Raises `ValueError` where the size cannot be stored.
    """
    history = b"".join(map(_U64.pack, view_history))
    head = _HEAD.pack(EntryType.SNAPSHOT, seqno, 0, DIGEST_SIZE, leaf, len(history))
    names = sorted(tables)
    public = [head, history, *_encode_tables([name for name in names if is_public(name)], tables, pause)]
    private = _encode_tables([name for name in names if not is_public(name)], tables, pause)
    public_size = sum(map(len, public))
    size = _FIXED_SIZE - HEADER_SIZE + public_size + sum(map(len, private))
    if size > MAX_SIZE:
        raise ValueError(f"a snapshot of {size} bytes cannot be stored")
    iv = _IV.pack(seqno, _IV_VIEW)
    tag, ciphertext = secret.aes.seal_parts(iv, private, public, pause)
    return b"".join([_U64.pack(FORMAT_VERSION | size << 16), tag, iv, _U64.pack(public_size), *public, *ciphertext])


def split_file(data: bytes) -> SnapshotFile:
    """The frame and what follows it; raises `MalformedSnapshot`."""
    try:
        size, flags = frame_size(data)
    except MalformedEntry as error:
        raise MalformedSnapshot(str(error)) from error
    if flags or size > len(data):
        raise MalformedSnapshot(f"a frame of {size} bytes with flags {flags} in a file of {len(data)} bytes")
    return SnapshotFile(data[:size], data[size:])


def decode_snapshot(frame: bytes, secrets: LedgerSecrets | None = None) -> Snapshot:
    """Read a whole frame; with `secrets`, its private tables too.

    Raises `MalformedSnapshot`; with secrets also `UnknownSecret`, and `DecryptionFailed` when the tag does not fit.
    """
    if len(split_file(frame).frame) != len(frame):
        raise MalformedSnapshot("bytes follow the frame")
    seqno, view = _IV.unpack_from(frame, HEADER_SIZE + TAG_SIZE)
    (public_size,) = _U64.unpack_from(frame, _FIXED_SIZE - _U64.size)
    if view != _IV_VIEW or not _HEAD.size <= public_size <= len(frame) - _FIXED_SIZE:
        raise MalformedSnapshot(f"view {view:#x} and {public_size} public bytes are not those of a snapshot")
    public = frame[_FIXED_SIZE : _FIXED_SIZE + public_size]
    try:
        leaf, history, offset = _read_head(public, seqno)
        tables = _decode_tables(public, offset, seqno, in_clear=True)
        if secrets is not None:
            tag = frame[HEADER_SIZE : HEADER_SIZE + TAG_SIZE]
            iv = frame[HEADER_SIZE + TAG_SIZE : HEADER_SIZE + TAG_SIZE + _IV.size]
            private = secrets.at(seqno).aes.open(iv, tag, frame[_FIXED_SIZE + public_size :], public)
            tables |= _decode_tables(private, 0, seqno, in_clear=False)
    except (StructError, UnicodeDecodeError) as error:
        raise MalformedSnapshot(f"the snapshot ends early or holds no text: {error}") from error
    return Snapshot(seqno, leaf, history, tables, sha256(frame).digest())


def _encode_tables(names: list[str], tables: Tables, pause: Callable[[], None]) -> list[bytes]:
    parts: list[bytes] = []
    for name in names:
        body = list(_encode_rows(tables[name].rows, pause))
        raw = name.encode()
        parts += (_U64.pack(len(raw)), raw, _PAIR.pack(tables[name].version, sum(map(len, body))), *body)
    return parts


def _encode_rows(rows: Rows, pause: Callable[[], None]) -> Iterator[bytes]:
    """The rows of one table in pieces, none of which takes long to sort, encode or encrypt."""
    hashes = siphash_all(rows, pause)
    # Lists of keys and no pairs: hundreds of thousands of containers would call for long garbage collections.
    buckets: list[list[bytes]] = [[] for _ in range(max(1, len(rows) // _BUCKET_ROWS))]
    for count, (key, hashed) in enumerate(hashes.items()):
        buckets[(hashed & 0xFFFFFFFF) * len(buckets) >> 32].append(key)
        if count % _BUCKET_ROWS == 0:
            pause()
    for bucket in buckets:
        pause()
        bucket.sort(key=lambda key: (hashes[key] & 0xFFFFFFFF, key))
        yield _encode_bucket(bucket, rows)


def _encode_bucket(keys: list[bytes], rows: Rows) -> bytes:
    pack, pack_pair, padding = _U64.pack, _PAIR.pack, _PADDING
    parts: list[bytes] = []
    for key in keys:
        seqno, value = rows[key]
        key_size, size = len(key), len(value)
        parts += (pack(key_size), key, padding[-key_size % 8], pack_pair(8 + size, seqno), value, padding[-size % 8])
    return b"".join(parts)


def _read_head(public: bytes, seqno: int) -> tuple[bytes, tuple[int, ...], int]:
    entry_type, own_seqno, digests, leaf_size, leaf, history_size = _HEAD.unpack_from(public)
    if (entry_type, own_seqno, digests, leaf_size) != (EntryType.SNAPSHOT, seqno, 0, DIGEST_SIZE) or seqno == 0:
        raise MalformedSnapshot(f"the public domain is not that of a snapshot at {seqno}")
    end = _HEAD.size + history_size
    if history_size % 8 or end > len(public):
        raise MalformedSnapshot(f"a view history of {history_size} bytes passes the end")
    history = tuple(start for (start,) in _U64.iter_unpack(public[_HEAD.size : end]))
    if not history or history[0] != 1 or history[-1] > seqno or list(history) != sorted(history):
        raise MalformedSnapshot(f"the view history {history[:8]} does not lead to {seqno}")
    return leaf, history, end


def _decode_tables(data: bytes, offset: int, seqno: int, *, in_clear: bool) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    while offset < len(data):
        raw_name, offset = _take(data, offset)
        name = raw_name.decode()
        version, size = _PAIR.unpack_from(data, offset)
        offset += _PAIR.size
        if is_public(name) is not in_clear or name in tables:
            raise MalformedSnapshot(f"table {name} appears twice or in the wrong domain")
        if size > len(data) - offset:
            raise MalformedSnapshot(f"table {name} of {size} bytes passes the end")
        if version > seqno and not version & _TOMBSTONE:
            raise MalformedSnapshot(f"table {name} was written at {version} in a snapshot at {seqno}")
        tables[name] = Table(_decode_rows(data, offset, offset + size, seqno), version & ~_TOMBSTONE)
        offset += size
    return tables


def _decode_rows(data: bytes, offset: int, end: int, seqno: int) -> Rows:
    rows: dict[bytes, tuple[int, bytes]] = {}
    while offset < end:
        (size,) = _U64.unpack_from(data, offset)
        start = offset + 8
        if size > end - start:
            raise MalformedSnapshot(f"a key of {size} bytes passes the end of its table")
        key = data[start : start + size]
        offset = start + size + -size % 8
        size, version = _PAIR.unpack_from(data, offset)
        offset += 16
        if size < 8 or offset + size - 8 > end:
            raise MalformedSnapshot(f"a value of {size} bytes passes the end of its table")
        if not version & _TOMBSTONE:
            if version > seqno:
                raise MalformedSnapshot(f"a key written at {version} in a snapshot at {seqno}")
            rows[key] = (version, data[offset : offset + size - 8])
        offset += size - 8 + -size % 8
    if offset != end:
        raise MalformedSnapshot("a row passes the end of its table")
    return immutables.Map(rows)


def _take(data: bytes, offset: int) -> tuple[bytes, int]:
    (size,) = _U64.unpack_from(data, offset)
    start = offset + 8
    if size > len(data) - start:
        raise MalformedSnapshot(f"a field of {size} bytes at offset {offset} passes the end")
    return data[start : start + size], start + size
