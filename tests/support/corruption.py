"""One wrong byte in a ledger: where it was put, and whether a check names that place."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

from dataplane.client.ledger_check import LedgerCheck
from dataplane.ledger.chunk import ChunkName, parse_name, read_layout
from dataplane.ledger.entry import HEADER_SIZE, decode_entry
from dataplane.ledger.files import LedgerFiles
from dataplane.ledger.signatures import is_signature
from dataplane.node.recovery import read_public_ledger
from tests.support.service_ledger import ServiceLedger, filled_ledger

_TAG = range(HEADER_SIZE, HEADER_SIZE + 16)
_EVIDENCE = range(44 + 1 + 8 + 32, 44 + 1 + 8 + 32 + 32)  # in a frame of type 4


@dataclass(frozen=True)
class Place:
    """A byte of a chunk's file. `seqno`: of the entry it belongs to, None in header and positions table.

    `within` is the byte's place in its frame; `secret` tells that only ledger secrets can check it.
    """

    path: Path
    offset: int
    seqno: int | None
    within: int
    secret: bool

    @property
    def first_seqno(self) -> int:
        """The earliest entry that may be lost by it."""
        return self.seqno or _name(self.path).first

    def __str__(self) -> str:
        return f"{self.path.name} byte {self.offset} (seqno {self.seqno}, byte {self.within} of it)"


def eventful_ledger(transactions: int, chunk_size: int = 200_000) -> ServiceLedger:
    """A ledger with two views, a rekey and a recovery, that ends with a signature."""
    ledger = filled_ledger(transactions // 2, signature_every=50, chunk_size=chunk_size)
    ledger.rekey()
    ledger.sign()
    ledger.recover()
    missing = transactions - len(ledger.entries)
    for number in range(missing):
        ledger.append({"public:records": {b"%d" % number: b"after"}, "records": {b"%d" % number: bytes(60)}})
        if number % 50 == 49:
            ledger.sign()
    ledger.sign()
    return ledger


def places(directory: Path, count: int, random: Random) -> Iterator[Place]:
    """Random bytes of all files of a ledger, each file weighted by its size."""
    files = [(path, path.read_bytes()) for path in sorted(directory.iterdir())]
    weights = [len(data) for _, data in files]
    last = max(_name(path).first for path, _ in files)
    for path, data in random.choices(files, weights, k=count):
        yield place_of(path, data, random.randrange(len(data)), is_last=_name(path).first == last)


def place_of(path: Path, data: bytes, offset: int, *, is_last: bool) -> Place:
    """What a byte of a file belongs to. `is_last`: the file ends the ledger."""
    layout = read_layout(data)
    for index in range(len(layout.positions)):
        start, end = layout.bounds(index)
        if start <= offset < end:
            newest = is_last and index + 1 == len(layout.positions)
            within = offset - start
            return Place(path, offset, _name(path).first + index, within, newest and within in (*_TAG, *_EVIDENCE))
    return Place(path, offset, None, -1, False)


@contextmanager
def corrupted(place: Place, random: Random) -> Iterator[None]:
    """The ledger with this byte changed to another value."""
    good = place.path.read_bytes()
    damage(place, random)
    try:
        yield
    finally:
        place.path.write_bytes(good)


def damage(place: Place, random: Random) -> None:
    """Change this byte to another value, for good."""
    data = bytearray(place.path.read_bytes())
    data[place.offset] ^= random.randrange(1, 256)
    place.path.write_bytes(data)


def is_located(check: LedgerCheck, place: Place) -> bool:
    """Whether the first thing the check names is the file, and the entry or the place outside of entries."""
    if check.problems:
        first = check.problems[0]
        return first.file == place.path and first.seqno == place.seqno
    torn = check.audit.torn
    return torn is not None and torn.file == place.path and torn.offset == place.offset - place.within


def _name(path: Path) -> ChunkName:
    name = parse_name(path.name)
    assert name is not None, path
    return name


@dataclass(frozen=True)
class Restored:
    """What a node that recovers makes of a ledger: the seqno it goes on from, and a digest of all public rows."""

    seqno: int
    rows: str


def public_rows_at_signatures(frames: Sequence[bytes]) -> dict[int, str]:
    """The digest of all public rows after each signature, by its seqno: from the write sets alone."""
    rows: dict[tuple[str, bytes], bytes] = {}
    digests: dict[int, str] = {}
    for seqno, frame in enumerate(frames, 1):
        writes = decode_entry(frame).writes
        for table, changes in writes.items():
            for key, value in changes.items():
                if value is None:
                    rows.pop((table, key), None)
                else:
                    rows[table, key] = value
        if is_signature(writes):
            digests[seqno] = _digest(rows)
    return digests


def restore(files: Path, scratch: Path) -> Restored:
    """Read a copy of a ledger as a node does that recovers. Raises what makes the node refuse it."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(files, scratch)
    ledger = LedgerFiles(scratch)
    try:
        state = asyncio.run(read_public_ledger(ledger, lambda: None))
    finally:
        ledger.close()
    rows = {(name, key): row[1] for name, table in state.tables.items() for key, row in table.rows.items()}
    return Restored(state.seqno, _digest(rows))


def _digest(rows: Mapping[tuple[str, bytes], bytes]) -> str:
    hashed = sha256()
    for (table, key), value in sorted(rows.items()):
        for part in (table.encode(), key, value):
            hashed.update(len(part).to_bytes(8, "big") + part)
    return hashed.hexdigest()
