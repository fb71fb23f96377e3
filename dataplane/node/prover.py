"""The work behind a historical query: read entries back, decode them, prove them (ledger-format.md 4).

Runs in a thread beside the node's loop and takes what it needs of the node's state as values. Every few entries it
gives the interpreter to the loop, which would otherwise wait a whole switch interval at each of its system calls.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dataplane.crypto.aead import DecryptionFailed
from dataplane.kv.tables import PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, SERVICE_INFO, UNIT_KEY, load_json
from dataplane.ledger.archive import EntriesUnreadable, LedgerArchive
from dataplane.ledger.endorsement_chain import InvalidEndorsement, endorsements_back_to
from dataplane.ledger.entry import DecodedEntry, MalformedEntry, decode_entry
from dataplane.ledger.identities import UnreadableIdentity, certificate_at, created_at
from dataplane.ledger.proven import Cover, ProvenEntry, check_endorsed, prove, read_cover
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.signatures import InvalidSignatureTx, is_signature
from dataplane.merkle.tree import MerkleTree
from dataplane.txid import TxID

_KEPT_COVERS = 8  # a tree has some 130 bytes for each entry between two signatures
_KEPT_CHECKS = 10_000
_ENTRIES_PER_TURN = 16
_PAUSE_S = 0.0002


class Unproven(Exception):
    """The entries cannot be had, or are not the ones that were signed. The text is for the log."""


@dataclass(frozen=True, slots=True)
class Service:
    """The present service, as the store has it: rows of `service.info` and of the endorsement, where there is one."""

    info: Mapping[str, Any]
    endorsement: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Witness:
    """Who vouches for entries of one service: its certificate, None where rows do not lead back to it (CCF 1.x).

    `earlier` tells that it is not the present service; then `cose_endorsements` lead to its key, None where there are
    none.
    """

    certificate: str | None
    earlier: bool
    cose_endorsements: tuple[bytes, ...] | None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Witnessed:
    """A proven entry, and who vouches for it."""

    entry: ProvenEntry
    witness: Witness


class Prover:
    """Fetches proven entries. All calls come from one thread."""

    def __init__(self, archive: LedgerArchive, secrets: LedgerSecrets) -> None:
        self._archive = archive
        self._secrets = secrets
        self._covers: OrderedDict[int, tuple[Cover, MerkleTree]] = OrderedDict()
        self._endorsed: dict[int, str] = {}  # signatures whose endorsement was checked, with the certificate
        self._rows: dict[tuple[str, int], Mapping[str, Any]] = {}  # committed rows that lead back, by table and seqno

    def fetch(self, first: int, last: int, *, signed_at: int | None, commit: int, service: Service) -> list[Witnessed]:
        """The entries `first`..`last`, all committed, proven; `signed_at` is the first signature after them if known.

        Raises `Unproven`.
        """
        try:
            return self._fetch(first, last, signed_at, commit, service)
        except _UNPROVEN as error:
            raise Unproven(str(error)) from error

    def _fetch(self, first: int, last: int, signed_at: int | None, commit: int, service: Service) -> list[Witnessed]:
        turn = _Turn()
        frames = self._archive.read(first, last)
        entries = [self._decode(frame, seqno, turn) for seqno, frame in enumerate(frames, first)]
        cover = None if is_signature(entries[-1].writes) else self._cover_after(last, signed_at, commit)
        witnesses: dict[int, Witness] = {}  # by the seqno of the signature
        found: list[Witnessed] = []
        for entry, frame in zip(reversed(entries), reversed(frames), strict=True):
            turn.take()
            if is_signature(entry.writes):
                cover = self._cover_of(entry)
            assert cover is not None
            proven = prove(entry, len(frame), self._secrets.at(entry.txid.seqno), *cover)
            at = proven.cover.txid.seqno
            if at not in witnesses:
                witnesses[at] = self._witness(proven, service)
            found.append(Witnessed(proven, witnesses[at]))
        return found[::-1]

    def _decode(self, frame: bytes, seqno: int, turn: "_Turn") -> DecodedEntry:
        turn.take()
        entry = decode_entry(frame, self._secrets)
        if entry.txid.seqno != seqno:
            raise MalformedEntry(f"seqno {entry.txid.seqno} stands where {seqno} should")
        return entry

    def _cover_after(self, seqno: int, signed_at: int | None, commit: int) -> tuple[Cover, MerkleTree]:
        """The first signature after `seqno`; looked for where it is not known."""
        known = None if signed_at is None else self._covers.get(signed_at)
        if known is not None:
            return known
        turn, at = _Turn(), seqno + 1 if signed_at is None else signed_at
        for position, frame in enumerate(self._archive.read_on(at, commit), at):
            entry = self._decode(frame, position, turn)
            if is_signature(entry.writes):
                return self._cover_of(entry)
        raise InvalidSignatureTx(f"no signature covers seqno {seqno}")

    def _cover_of(self, entry: DecodedEntry) -> tuple[Cover, MerkleTree]:
        seqno = entry.txid.seqno
        known = self._covers.get(seqno)
        if known is None:
            known = self._covers[seqno] = read_cover(entry)
            if len(self._covers) > _KEPT_COVERS:
                self._covers.popitem(last=False)
        return known

    def _witness(self, proven: ProvenEntry, service: Service) -> Witness:
        """Check that the service of the time endorsed the signature, and find what leads to it from the present one."""
        cover = proven.cover
        seqno = cover.txid.seqno
        certificate = certificate_at(seqno, service.info, self._row_of(SERVICE_INFO))
        if certificate is not None and self._endorsed.get(seqno) != certificate:
            check_endorsed(cover, certificate)
            if len(self._endorsed) >= _KEPT_CHECKS:
                self._endorsed.clear()
            self._endorsed[seqno] = certificate
        if seqno >= created_at(service.info):
            return Witness(certificate, False, None)
        return Witness(certificate, True, self._cose_endorsements(proven.txid, service))

    def _cose_endorsements(self, txid: TxID, service: Service) -> tuple[bytes, ...] | None:
        if service.endorsement is None:
            return None
        row_at = self._row_of(PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
        try:
            return endorsements_back_to(txid, service.endorsement, row_at)
        except InvalidEndorsement:  # a service of the past broke its chain: JSON receipts do not need it
            return None

    def _row_of(self, table: str) -> Callable[[int], Mapping[str, Any]]:
        """A reader of the rows that a single-value table had."""

        def row_at(seqno: int) -> Mapping[str, Any]:
            known = self._rows.get((table, seqno))
            if known is None:
                (frame,) = self._archive.read(seqno, seqno)
                entry = self._decode(frame, seqno, _Turn())
                value = entry.writes.get(table, {}).get(UNIT_KEY)
                known = None if value is None else load_json(value)
                if not isinstance(known, dict):
                    raise UnreadableIdentity(f"seqno {seqno} does not write {table}")
                self._rows[table, seqno] = known
            return known

        return row_at


# a ValueError is what decoding, secrets, signatures, identities and endorsements raise
_UNPROVEN = (EntriesUnreadable, DecryptionFailed, ValueError)


class _Turn:
    """Counts entries, and sleeps for a moment after every few."""

    def __init__(self) -> None:
        self._left = _ENTRIES_PER_TURN

    def take(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._left = _ENTRIES_PER_TURN
            time.sleep(_PAUSE_S)
