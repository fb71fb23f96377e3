"""One transaction as the ledger holds it: frame, public domain, encrypted private domain (ledger-format.md 1.4, 1.5).

Nodes write entries of type 4 only; the older types 0, 2 and 3 are read, and written again bit for bit.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from hashlib import sha256
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from dataplane.crypto.aead import TAG_SIZE
from dataplane.kv.writeset import MalformedWriteSet, WriteSet, decode_maps, encode_maps, is_public, split
from dataplane.ledger.secrets import LedgerSecretCipher, LedgerSecrets, evidence_digest
from dataplane.txid import TxID

HEADER_SIZE = 8
NO_CLAIMS = bytes(32)
FORMAT_VERSION = 1
MAX_SIZE = (1 << 48) - 1
MAX_VIEW = (1 << 31) - 1

_DIGEST_SIZE = 32
_IV = Struct("<QI")
_U64 = Struct("<Q")
_FIXED_SIZE = HEADER_SIZE + TAG_SIZE + _IV.size + _U64.size  # of a frame with empty domains
_PUBLIC_TYPE_4 = Struct("<BQ32s32sQ")


class EntryFlags(IntFlag):
    """Where chunks end (ledger-format.md 1.3)."""

    NONE = 0
    CHUNK_AFTER = 0x01
    CHUNK_BEFORE = 0x02


class EntryType(IntEnum):
    """What the public domain begins with."""

    WRITE_SET = 0
    SNAPSHOT = 1
    WITH_CLAIMS = 2
    WITH_EVIDENCE = 3
    WITH_EVIDENCE_AND_CLAIMS = 4


class MalformedEntry(ValueError):
    """The bytes are not one ledger entry."""


class EncodedEntry(NamedTuple):
    """What encoding a transaction gives: its frame, its digests, and the evidence to keep back until commit."""

    frame: bytes
    write_set_digest: bytes
    leaf: bytes
    evidence: str


@dataclass(frozen=True, slots=True)
class DecodedEntry:
    """One entry. `writes` holds the private tables only when decoded with the secrets.

    `claims_digest` and `commit_evidence_digest` are None for types that lack them; `max_conflict_version` is a relic
    that only re-encoding needs.
    """

    txid: TxID
    flags: EntryFlags
    entry_type: EntryType
    writes: WriteSet
    claims_digest: bytes | None
    commit_evidence_digest: bytes | None
    max_conflict_version: int
    write_set_digest: bytes
    leaf: bytes


def encode_entry(
    txid: TxID, writes: WriteSet, *, secret: LedgerSecretCipher, claims_digest: bytes = NO_CLAIMS, flags: int = 0
) -> EncodedEntry:
    """Encode a transaction under the ledger secret of its seqno.

    Raises `ValueError` when the view or the size cannot be stored, or the claims digest has not 32 bytes.
    """
    if len(claims_digest) != _DIGEST_SIZE:
        raise ValueError(f"a claims digest has {_DIGEST_SIZE} bytes, not {len(claims_digest)}")
    public, private = split(writes)
    evidence = secret.evidence(f"{txid.view}.{txid.seqno}")
    commit_evidence_digest = sha256(evidence.encode()).digest()
    head = _PUBLIC_TYPE_4.pack(4, txid.seqno, claims_digest, commit_evidence_digest, 0)
    frame = _seal(txid, flags, head + encode_maps(public), encode_maps(private) if private else b"", secret)
    write_set_digest = sha256(frame).digest()
    leaf = sha256(write_set_digest + commit_evidence_digest + claims_digest).digest()
    return EncodedEntry(frame, write_set_digest, leaf, evidence)


def decode_entry(frame: bytes, secrets: LedgerSecrets | None = None) -> DecodedEntry:
    """Read a whole frame; with `secrets`, its private tables too.

    Raises `MalformedEntry`; with secrets also `UnknownSecret`, and `DecryptionFailed` when the tag does not fit.
    """
    size, flags = frame_size(frame)
    if size != len(frame):
        raise MalformedEntry(f"the header announces {size} bytes, {len(frame)} are there")
    seqno, view = _IV.unpack_from(frame, HEADER_SIZE + TAG_SIZE)
    (public_size,) = _U64.unpack_from(frame, _FIXED_SIZE - _U64.size)
    private_start = _FIXED_SIZE + public_size
    if private_start > size:
        raise MalformedEntry(f"a public domain of {public_size} bytes does not fit into {size}")
    if not 0 < view <= MAX_VIEW:
        raise MalformedEntry(f"view {view} is out of range")
    public = frame[_FIXED_SIZE:private_start]
    head = _read_head(public)
    if head.seqno != seqno or seqno == 0:
        raise MalformedEntry(f"seqno {head.seqno} in the public domain, {seqno} in the header")
    writes = _read_maps(public, head.end, in_clear=True)
    if secrets is not None:
        writes |= _open_private(frame, public, private_start, secrets.at(seqno))
    write_set_digest = sha256(frame).digest()
    return DecodedEntry(
        txid=TxID(view, seqno),
        flags=_FLAGS[flags],
        entry_type=head.entry_type,
        writes=writes,
        claims_digest=head.claims_digest,
        commit_evidence_digest=head.commit_evidence_digest,
        max_conflict_version=head.max_conflict_version,
        write_set_digest=write_set_digest,
        leaf=leaf_of(write_set_digest, head.commit_evidence_digest, head.claims_digest),
    )


def reencode_entry(entry: DecodedEntry, secret: LedgerSecretCipher) -> bytes:
    """The frame of an entry of any type, decoded with the secrets: bit for bit the one it came from."""
    public, private = split(entry.writes)
    head = bytes([entry.entry_type]) + _U64.pack(entry.txid.seqno)
    head += (entry.claims_digest or b"") + (entry.commit_evidence_digest or b"")
    head += _U64.pack(entry.max_conflict_version)
    return _seal(entry.txid, entry.flags, head + encode_maps(public), encode_maps(private), secret)


def frame_size(data: bytes, offset: int = 0) -> tuple[int, int]:
    """Size in bytes, header included, and flags of the frame at `offset`; raises `MalformedEntry`."""
    if len(data) - offset < HEADER_SIZE:
        raise MalformedEntry("the frame header is cut off")
    (word,) = _U64.unpack_from(data, offset)
    version, flags, size = word & 0xFF, word >> 8 & 0xFF, word >> 16
    if version != FORMAT_VERSION:
        raise MalformedEntry(f"entry format version {version} is not {FORMAT_VERSION}")
    if flags & ~0x03:
        raise MalformedEntry(f"unknown flags {flags:#04x}")
    if size + HEADER_SIZE < _FIXED_SIZE:
        raise MalformedEntry(f"a frame of {size} bytes is too short")
    return size + HEADER_SIZE, flags


def frame_txid(frame: bytes) -> TxID:
    """The transaction id in the frame's header, without looking further. Raises `MalformedEntry` when cut off."""
    if len(frame) < _FIXED_SIZE:
        raise MalformedEntry("the frame header is cut off")
    seqno, view = _IV.unpack_from(frame, HEADER_SIZE + TAG_SIZE)
    return TxID(view, seqno)


def leaf_of(write_set_digest: bytes, commit_evidence_digest: bytes | None, claims_digest: bytes | None) -> bytes:
    """The leaf of an entry in the Merkle tree, by the parts its type has (ledger-format.md 2.1)."""
    if commit_evidence_digest is None and claims_digest is None:
        return write_set_digest
    return sha256(write_set_digest + (commit_evidence_digest or b"") + (claims_digest or b"")).digest()


def check_evidence(entry: DecodedEntry, secret: LedgerSecretCipher) -> str:
    """The commit evidence of an entry; raises `MalformedEntry` when the ledger holds the digest of another one."""
    evidence = secret.evidence(str(entry.txid))
    if entry.commit_evidence_digest != evidence_digest(evidence):
        raise MalformedEntry(f"the commit evidence of {entry.txid} is not the one its secret gives")
    return evidence


class _Head(NamedTuple):
    entry_type: EntryType
    seqno: int
    claims_digest: bytes | None
    commit_evidence_digest: bytes | None
    max_conflict_version: int
    end: int


_FLAGS = tuple(EntryFlags(value) for value in range(4))  # looked up, as making one costs a microsecond
_HAS_CLAIMS = {EntryType.WITH_CLAIMS, EntryType.WITH_EVIDENCE_AND_CLAIMS}
_HAS_EVIDENCE = {EntryType.WITH_EVIDENCE, EntryType.WITH_EVIDENCE_AND_CLAIMS}


def _seal(txid: TxID, flags: int, public: bytes, private: bytes, secret: LedgerSecretCipher) -> bytes:
    if not 0 < txid.view <= MAX_VIEW:
        raise ValueError(f"view {txid.view} cannot be stored")
    size = _FIXED_SIZE - HEADER_SIZE + len(public) + len(private)
    if size > MAX_SIZE:
        raise ValueError(f"an entry of {size} bytes cannot be stored")
    iv = _IV.pack(txid.seqno, txid.view)
    tag, ciphertext = secret.aes.seal(iv, private, public)
    header = _U64.pack(FORMAT_VERSION | int(flags) << 8 | size << 16)
    return b"".join((header, tag, iv, _U64.pack(len(public)), public, ciphertext))


def _read_head(public: bytes) -> _Head:
    try:
        entry_type = EntryType(public[0])
        (seqno,) = _U64.unpack_from(public, 1)
        offset = 1 + _U64.size
        claims_digest, offset = _take_digest(public, offset, entry_type in _HAS_CLAIMS)
        evidence, offset = _take_digest(public, offset, entry_type in _HAS_EVIDENCE)
        (max_conflict_version,) = _U64.unpack_from(public, offset)
    except (ValueError, IndexError, StructError) as error:
        raise MalformedEntry(f"the public domain cannot be read: {error}") from error
    if entry_type is EntryType.SNAPSHOT:
        raise MalformedEntry("a snapshot where a transaction should be")
    return _Head(entry_type, seqno, claims_digest, evidence, max_conflict_version, offset + _U64.size)


def _take_digest(data: bytes, offset: int, present: bool) -> tuple[bytes | None, int]:
    if not present:
        return None, offset
    return data[offset : offset + _DIGEST_SIZE], offset + _DIGEST_SIZE


def _open_private(frame: bytes, public: bytes, private_start: int, secret: LedgerSecretCipher) -> WriteSet:
    tag = frame[HEADER_SIZE : HEADER_SIZE + TAG_SIZE]
    iv = frame[HEADER_SIZE + TAG_SIZE : HEADER_SIZE + TAG_SIZE + _IV.size]
    return _read_maps(secret.aes.open(iv, tag, frame[private_start:], public), 0, in_clear=False)


def _read_maps(data: bytes, offset: int, *, in_clear: bool) -> WriteSet:
    try:
        writes = decode_maps(data, offset)
    except MalformedWriteSet as error:
        raise MalformedEntry(str(error)) from error
    for table in writes:
        if is_public(table) is not in_clear:
            raise MalformedEntry(f"table {table} stands in the wrong domain")
    return writes
