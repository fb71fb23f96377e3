"""A ledger with its snapshots, checked as a whole against the identity of the service (ledger-format.md 5.4, 9).

Where the ledger begins late, a snapshot stands for what is missing. Every snapshot must be the one that the ledger's
evidence tells of, or, where that is not at hand, carry the receipt of a service identity the ledger knows.
"""

import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from dataplane.client.audit import LedgerAudit, LedgerCorrupt, Selection, audit_ledger, select_chunks
from dataplane.crypto.certs import InvalidCertificate, public_key_of
from dataplane.crypto.keys import spki_der
from dataplane.kv.tables import SERVICE_INFO, UNIT_KEY, load_json
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.snapshot import MalformedSnapshot, Snapshot, decode_snapshot, split_file
from dataplane.ledger.snapshot_files import SnapshotName, parse_snapshot_name
from dataplane.receipt import InvalidReceipt
from dataplane.snapshot_proof import verify_snapshot


class Verdict(StrEnum):
    """What a check comes to. `incomplete`: nothing is wrong, but not all of what is there is proven."""

    VERIFIED = "verified"
    CORRUPT = "corrupt"
    INCOMPLETE = "incomplete"


@dataclass(slots=True)
class LedgerCheck:
    """The result. `begins_with` is the snapshot the audit began from; `snapshots` are the names of good ones."""

    audit: LedgerAudit
    begins_with: str | None = None
    snapshots: list[str] = field(default_factory=list)
    problems: list[LedgerCorrupt] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """Corrupt, or, in this order, incomplete or verified."""
        if self.problems:
            return Verdict.CORRUPT
        audit = self.audit
        whole = audit.torn is None and audit.uncovered is None and audit.last_txid == audit.last_signed
        return Verdict.VERIFIED if whole else Verdict.INCOMPLETE


def check_ledger(
    selection: Selection,
    *,
    snapshots: Sequence[Path] = (),
    service_cert_pem: str | None = None,
    secrets: LedgerSecrets | None = None,
) -> LedgerCheck:
    """Check the chunks of `selection` and the snapshots in the directories `snapshots`.

    `service_cert_pem`: the identity the service must have in the end; without it the ledger is only checked to agree
    with itself. Raises `OSError` for files that cannot be read, `ValueError` for a certificate that cannot.
    """
    expected = None if service_cert_pem is None else spki_der(public_key_of(service_cert_pem))
    found = _snapshot_files(snapshots)
    chunks, _ = select_chunks(selection)
    first = chunks[0][0].first if chunks else 1
    begin, name = _beginning(first, found)
    if first > 1 and begin is None:
        reason = f"the ledger begins with seqno {first}, and no snapshot at {first - 1} or later stands for the rest"
        return LedgerCheck(LedgerAudit(), problems=[LedgerCorrupt(chunks[0][1], None, first, reason)])
    audit = audit_ledger(selection, begin=begin, secrets=secrets)
    check = LedgerCheck(audit, name, problems=list(audit.problems))
    if expected is not None:
        _check_identity(check, expected, chunks[-1][1] if chunks else selection.directories[0])
    for snapshot, path in found:
        _check_snapshot(check, snapshot, path)
    return check


def read_secrets(path: Path) -> LedgerSecrets:
    """Ledger secrets from `{"<first seqno>": "<base64 of 32 bytes>"}`; raises `ValueError` and tells no content."""
    try:
        return LedgerSecrets({int(seqno): b64decode(key) for seqno, key in json.loads(path.read_bytes()).items()})
    except (ValueError, TypeError, AttributeError, AssertionError):
        raise ValueError(f'{path} does not hold ledger secrets as {{"<seqno>": "<base64>"}}') from None


def _snapshot_files(directories: Sequence[Path]) -> list[tuple[SnapshotName, Path]]:
    named = ((parse_snapshot_name(path.name), path) for directory in directories for path in directory.iterdir())
    return sorted((name, path) for name, path in named if name is not None)


def _beginning(first: int, found: Sequence[tuple[SnapshotName, Path]]) -> tuple[Snapshot | None, str | None]:
    """The earliest good snapshot that a ledger from seqno `first` on can follow."""
    if first == 1:
        return None, None
    for name, path in found:
        if name.seqno < first - 1:
            continue
        try:
            data = path.read_bytes()
            snapshot = verify_snapshot(data, _own_certificate(decode_snapshot(split_file(data).frame))).snapshot
            snapshot.tree()
        except (MalformedSnapshot, InvalidReceipt):
            continue  # `_check_snapshot` says why
        return snapshot, path.name
    return None, None


def _own_certificate(snapshot: Snapshot) -> str:
    """The service's certificate at the time of a snapshot; raises `MalformedSnapshot`."""
    row = snapshot.tables[SERVICE_INFO].rows.get(UNIT_KEY) if SERVICE_INFO in snapshot.tables else None
    try:
        info: Any = None if row is None else load_json(row[1])
        return str(info["cert"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedSnapshot("the snapshot holds no certificate of its service") from error


def _check_identity(check: LedgerCheck, expected: bytes, path: Path) -> None:
    identities = check.audit.identities
    try:
        if identities and spki_der(public_key_of(identities[-1].certificate_pem)) == expected:
            return
        reason = "the ledger is that of another service than the one whose certificate was given"
    except InvalidCertificate as error:
        reason = str(error)
    check.problems.append(LedgerCorrupt(path, None, None, reason))


def _check_snapshot(check: LedgerCheck, name: SnapshotName, path: Path) -> None:
    try:
        data = path.read_bytes()
        snapshot = decode_snapshot(split_file(data).frame)
        if snapshot.seqno != name.seqno:
            raise MalformedSnapshot(f"the snapshot in it is at {snapshot.seqno}")
        snapshot.tree()
        _check_evidence(check.audit, name, snapshot)
        evidence = verify_snapshot(data, _certificate_at(check.audit, name.evidence_seqno, snapshot)).evidence
        if evidence.seqno != name.evidence_seqno:
            raise InvalidReceipt(f"its receipt is that of {evidence}")
    except (MalformedSnapshot, InvalidReceipt) as error:
        check.problems.append(LedgerCorrupt(path, None, name.seqno, str(error)))
    else:
        check.snapshots.append(path.name)


def _check_evidence(audit: LedgerAudit, name: SnapshotName, snapshot: Snapshot) -> None:
    """The ledger holds this snapshot's digest where its name says, as far as it is at hand."""
    last = 0 if audit.last_txid is None else audit.last_txid.seqno
    if not audit.first_seqno <= name.evidence_seqno <= last:
        return
    if audit.snapshot_evidence.get(name.evidence_seqno) != snapshot.digest.hex():
        raise MalformedSnapshot(f"the ledger's entry {name.evidence_seqno} is not the evidence of this snapshot")


def _certificate_at(audit: LedgerAudit, seqno: int, snapshot: Snapshot) -> str:
    """The service's certificate at a seqno: as the ledger tells, or the snapshot itself where it does not."""
    known = [identity for identity in audit.identities if identity.since.seqno <= seqno]
    return known[-1].certificate_pem if known else _own_certificate(snapshot)
