"""Follow a whole ledger offline and list everything that is wrong with it (ledger-format.md 1, 2, 5, 9).

A wrong byte is told by file, offset and seqno. After one the audit goes on: the next signature tells which entries were
signed, and from there on every further one is found. What no later signature covers is intact as far as its own form
tells, and is counted apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataplane.crypto.aead import DecryptionFailed
from dataplane.ledger.chunk import ChunkLayout, ChunkName, MalformedChunk, parse_name
from dataplane.ledger.chunk_faults import ChunkFault, TornEnd, read_damaged_layout, torn_end
from dataplane.ledger.entry import DecodedEntry, EntryFlags, MalformedEntry, decode_entry
from dataplane.ledger.replay import AlteredEntries, InvalidLedger, LedgerReplay
from dataplane.ledger.secrets import LedgerSecrets, UnknownSecret
from dataplane.ledger.service_identities import Identity as Identity
from dataplane.ledger.signatures import InvalidSignatureTx, is_signature
from dataplane.ledger.snapshot import Snapshot
from dataplane.txid import TxID

MAX_PROBLEMS = 100
_CHUNK_AFTER, _CHUNK_BEFORE = int(EntryFlags.CHUNK_AFTER), int(EntryFlags.CHUNK_BEFORE)
_BAD_ENTRY = (MalformedEntry, InvalidLedger, InvalidSignatureTx, DecryptionFailed, UnknownSecret)


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
class TornFile:
    """The open chunk ends in an entry that was never written whole."""

    file: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files are read. `directories` in order: where two hold the same chunk, the first one's is read."""

    directories: Sequence[Path]
    uncommitted: bool = True
    recovery: bool = False


@dataclass(slots=True)
class LedgerAudit:
    """What a ledger contains, and what is wrong with it.

    `first_seqno`: of the first entry checked; entries before it, and those of `uncovered`, are not proven by anything
    at hand. `last_signed` is the newest signature; entries after it are intact as far as their form tells.
    """

    first_seqno: int = 1
    last_txid: TxID | None = None
    last_signed: TxID | None = None
    signatures: int = 0
    cose_signatures: int = 0
    service_status: str | None = None
    identities: list[Identity] = field(default_factory=list)
    chunks: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    uncovered: tuple[int, int] | None = None
    torn: TornFile | None = None
    snapshot_evidence: dict[int, str] = field(default_factory=dict)
    problems: list[LedgerCorrupt] = field(default_factory=list)


def audit_ledger(
    selection: Selection,
    *,
    begin: Snapshot | None = None,
    secrets: LedgerSecrets | None = None,
    limit: int = MAX_PROBLEMS,
) -> LedgerAudit:
    """Check every chunk selected; stops at `limit` problems. Raises `OSError` for files that cannot be read.

    `begin`: a snapshot that is trusted, for a ledger that begins late. `secrets` adds tags and commit evidence.
    """
    chunks, skipped = select_chunks(selection)
    return _Auditor(LedgerReplay(secrets, begin), begin, limit).run(chunks, skipped)


def select_chunks(selection: Selection) -> tuple[list[tuple[ChunkName, Path]], list[str]]:
    """The chunks to read in order, and the names of what is left out."""
    found: dict[ChunkName, Path] = {}
    skipped: list[str] = []
    for directory in selection.directories:
        for path in sorted(directory.iterdir()):
            name = parse_name(path.name)
            if name is None or (name.recovery and not selection.recovery):
                skipped += [path.name] if path.name.startswith("ledger_") else []
            else:
                found.setdefault(name, path)
    named = sorted(found.items(), key=lambda item: (item[0].first, item[0].last or 0))
    committed = max((name.last or 0 for name, _ in named), default=0)
    chosen = [item for item in named if item[0].committed or (selection.uncommitted and item[0].first > committed)]
    skipped += [path.name for name, path in named if (name, path) not in chosen]
    return chosen, skipped


class _Auditor:
    """One pass over the chunks."""

    def __init__(self, replay: LedgerReplay, begin: Snapshot | None, limit: int) -> None:
        self._replay = replay
        self._begin = begin
        self._begin_tree = None if begin is None else begin.tree()
        self._limit = limit
        self._audit = LedgerAudit()
        self._places: dict[int, tuple[Path, int]] = {}  # of the last signature, and of the entries since

    def run(self, chunks: Sequence[tuple[ChunkName, Path]], skipped: list[str]) -> LedgerAudit:
        audit, replay = self._audit, self._replay
        audit.skipped = skipped
        audit.first_seqno = 1 if self._begin is None else self._begin.seqno + 1
        for name, path in chunks:
            if len(audit.problems) >= self._limit:
                break
            if self._follows(name, path):
                audit.chunks.append(path.name)
                self._chunk(name, path)
        del audit.problems[self._limit :]
        audit.last_txid, audit.last_signed = replay.last_txid, replay.last_signed
        audit.signatures, audit.cose_signatures = replay.signatures, replay.cose_signatures
        audit.service_status, audit.identities = replay.service_status, replay.identities
        audit.snapshot_evidence = replay.snapshots
        return audit

    def _next_seqno(self) -> int:
        return 1 if self._replay.last_txid is None else self._replay.last_txid.seqno + 1

    def _follows(self, name: ChunkName, path: Path) -> bool:
        """Whether the chunk holds the next entry; one that ends before it is left out, one after it is a problem."""
        expected = self._next_seqno()
        if name.last is not None and name.last < expected:
            self._audit.skipped.append(path.name)
            return False
        if name.first <= expected and (name.first == expected or not self._audit.chunks):
            return True
        reason = f"seqno {expected} should come next, the file begins with {name.first}"
        self._problem(path, None, expected, reason)
        if name.first < expected:
            return False
        self._replay.lose(name.first - 1)
        return True

    def _chunk(self, name: ChunkName, path: Path) -> None:
        data = path.read_bytes()
        try:
            layout, fault = read_damaged_layout(data)
        except MalformedChunk as error:
            self._problem(path, error.offset, None, str(error))
            if name.last is not None:
                self._replay.lose(name.last)
            return
        if fault is not None:
            self._problem(path, fault.offset, None, fault.reason)
        count = len(layout.positions)
        if name.last is not None and (not layout.complete or count != name.last - name.first + 1):
            reason = f"the name promises a complete chunk up to {name.last}, it holds {count}"
            self._problem(path, None, None, reason)
        for index, seqno in enumerate(range(name.first, name.first + count)):
            start, end = layout.bounds(index)
            if seqno >= self._next_seqno():
                self._entry(path, start, data[start:end], seqno, index, layout)
            else:
                self._before(path, start, data[start:end], seqno)
        self._end(path, torn_end(data, layout))

    def _entry(self, path: Path, start: int, frame: bytes, seqno: int, index: int, layout: ChunkLayout) -> None:
        self._places[seqno] = path, start
        try:
            entry = self._replay.add(frame)
            if is_signature(entry.writes):
                self._places = {seqno: (path, start)}
            _check_flags(entry, index, layout)
        except AlteredEntries as error:
            self._altered(error, decode_entry(frame))
            self._places = {seqno: (path, start)}
        except _BAD_ENTRY as error:
            self._problem(path, start, seqno, str(error))
            if self._next_seqno() == seqno:
                self._replay.pass_over(seqno)

    def _altered(self, error: AlteredEntries, signature: DecodedEntry) -> None:
        """Name each entry that is not the one that was signed, and go on with those that were."""
        known = {problem.seqno for problem in self._audit.problems}
        for seqno in error.seqnos:
            if seqno not in known:
                file, offset = self._places.get(seqno) or self._places[signature.txid.seqno]
                reason = f"entry {seqno} is not the one that the signature {signature.txid} covers"
                self._problem(file, offset, seqno, reason)
        self._replay.adopt(signature, error.tree)

    def _before(self, path: Path, start: int, frame: bytes, seqno: int) -> None:
        """An entry that the snapshot replaces: its leaf may still be in the snapshot's tree."""
        tree = self._begin_tree
        assert tree is not None, "only a snapshot begins after an entry"
        try:
            entry = decode_entry(frame)
            if entry.txid.seqno != seqno or (seqno >= tree.flushed and tree.leaf(seqno) != entry.leaf):
                raise MalformedEntry("the entry is not the one that the snapshot covers")
        except MalformedEntry as error:
            self._problem(path, start, seqno, str(error))
        if seqno < tree.flushed:
            first = seqno if self._audit.uncovered is None else self._audit.uncovered[0]
            self._audit.uncovered = first, seqno
        else:
            self._audit.first_seqno = min(self._audit.first_seqno, seqno)

    def _end(self, path: Path, torn: TornEnd | ChunkFault | None) -> None:
        if isinstance(torn, TornEnd):
            self._audit.torn = TornFile(path, torn.offset, torn.size)
        elif torn is not None:
            self._problem(path, torn.offset, self._next_seqno(), torn.reason)

    def _problem(self, path: Path, offset: int | None, seqno: int | None, reason: str) -> None:
        self._audit.problems.append(LedgerCorrupt(path, offset, seqno, reason))


def _check_flags(entry: DecodedEntry, index: int, layout: ChunkLayout) -> None:
    flags, last = int(entry.flags), index + 1 == len(layout.positions)
    if flags:
        if flags & _CHUNK_BEFORE and index > 0:
            raise InvalidLedger("an entry that begins a chunk stands inside of one")
        if flags & _CHUNK_AFTER and not (last and is_signature(entry.writes)):
            raise InvalidLedger("only a signature at the end of its chunk may carry the flag that ends it")
    if last and layout.complete and not is_signature(entry.writes):
        raise InvalidLedger("a complete chunk ends with a signature")
