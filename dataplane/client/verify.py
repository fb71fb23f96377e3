"""Check a ledger directory or a receipt offline, and say where it breaks (ledger-format.md 9)."""

from dataclasses import dataclass
from pathlib import Path

from dataplane.crypto.aead import DecryptionFailed
from dataplane.ledger.chunk import ChunkLayout, ChunkName, MalformedChunk, parse_name, read_layout
from dataplane.ledger.entry import DecodedEntry, EntryFlags, MalformedEntry
from dataplane.ledger.replay import InvalidLedger, LedgerReplay
from dataplane.ledger.secrets import LedgerSecrets, UnknownSecret
from dataplane.ledger.signatures import InvalidSignatureTx, is_signature
from dataplane.receipt import InvalidReceipt, VerifiedReceipt, verify_receipt
from dataplane.receipt_cose import verify_cose_receipt
from dataplane.txid import TxID

__all__ = [
    "InvalidReceipt",
    "LedgerCorrupt",
    "LedgerReport",
    "VerifiedReceipt",
    "verify_cose_receipt",
    "verify_ledger",
    "verify_receipt",
]


class LedgerCorrupt(Exception):
    """The ledger is not what its signatures say, or cannot be read. Names the place."""

    code = "LedgerCorrupt"

    def __init__(self, file: Path, offset: int | None, seqno: int | None, reason: str) -> None:
        """`offset` is the byte where the bad entry begins in `file`, None when the file as a whole is at fault."""
        place = f"{file}" + ("" if offset is None else f" at byte {offset}")
        super().__init__(f"{place}{'' if seqno is None else f', seqno {seqno}'}: {reason}")
        self.file = file
        self.offset = offset
        self.seqno = seqno
        self.reason = reason


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What a ledger that holds contains. Entries after `last_signed` are intact but not covered by a signature.

    `last_txid` and `last_signed` are None in an empty ledger; `service_cert_pem` is the newest identity seen.
    """

    last_txid: TxID | None
    last_signed: TxID | None
    signatures: int
    cose_signatures: int
    chunks: tuple[str, ...]
    service_status: str | None
    service_cert_pem: str | None


def verify_ledger(directory: Path, *, uncommitted: bool = False, secrets: LedgerSecrets | None = None) -> LedgerReport:
    """Check all committed chunks of `directory`, which begin with seqno 1; with `uncommitted`, the open ones too.

    `secrets` adds the private tables and commit evidence. Raises `LedgerCorrupt`, or `OSError` for unreadable files.
    """
    replay = LedgerReplay(secrets)
    chunks = _chunks(directory, uncommitted)
    for name, path in chunks:
        expected = 1 if replay.last_txid is None else replay.last_txid.seqno + 1
        if name.first != expected:
            raise LedgerCorrupt(path, None, expected, f"seqno {expected} should come next, the file begins later")
        _verify_chunk(name, path, replay)
    return LedgerReport(
        last_txid=replay.last_txid,
        last_signed=replay.last_signed,
        signatures=replay.signatures,
        cose_signatures=replay.cose_signatures,
        chunks=tuple(path.name for _, path in chunks),
        service_status=replay.service_status,
        service_cert_pem=replay.service_cert_pem,
    )


def _chunks(directory: Path, uncommitted: bool) -> list[tuple[ChunkName, Path]]:
    """Committed chunks in order and, if asked for, the open ones that continue them."""
    named = [(name, path) for path in directory.iterdir() if (name := parse_name(path.name)) and not name.recovery]
    named.sort(key=lambda item: (item[0].first, item[0].last or 0))
    committed = max((name.last or 0 for name, _ in named), default=0)
    return [(name, path) for name, path in named if name.committed or (uncommitted and name.first > committed)]


def _verify_chunk(name: ChunkName, path: Path, replay: LedgerReplay) -> None:
    data = path.read_bytes()
    try:
        layout = read_layout(data)
    except MalformedChunk as error:
        raise LedgerCorrupt(path, error.offset, None, str(error)) from error
    count = len(layout.positions)
    if name.last is not None and (not layout.complete or count != name.last - name.first + 1):
        raise LedgerCorrupt(path, None, None, f"the name promises a complete chunk up to {name.last}, it holds {count}")
    for index in range(count):
        start, end = layout.bounds(index)
        try:
            entry = replay.add(data[start:end])
            _check_flags(entry, index, layout)
        except _BAD_ENTRY as error:
            raise LedgerCorrupt(path, start, name.first + index, str(error)) from error


_BAD_ENTRY = (MalformedEntry, InvalidLedger, InvalidSignatureTx, DecryptionFailed, UnknownSecret)


def _check_flags(entry: DecodedEntry, index: int, layout: ChunkLayout) -> None:
    last = index + 1 == len(layout.positions)
    if entry.flags & EntryFlags.CHUNK_BEFORE and index > 0:
        raise InvalidLedger("an entry that begins a chunk stands inside of one")
    if entry.flags & EntryFlags.CHUNK_AFTER and not (last and is_signature(entry.writes)):
        raise InvalidLedger("only a signature at the end of its chunk may carry the flag that ends it")
    if last and layout.complete and not is_signature(entry.writes):
        raise InvalidLedger("a complete chunk ends with a signature")
