"""`mccf ledger verify`: check a ledger where it lies, with nothing but its files.

Keys, receipts and ledgers stay on the member's machine: no control plane is asked.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from knack.util import CLIError

from dataplane.client.audit import Identity, LedgerAudit, LedgerCorrupt, Selection
from dataplane.client.ledger_check import LedgerCheck, Verdict, check_ledger, read_secrets

EXIT_CODES = {Verdict.VERIFIED: 0, Verdict.CORRUPT: 3, Verdict.INCOMPLETE: 4}
"""Besides 1, where a file cannot be read, and 2 for a wrong command line."""


def verify(
    directory: Sequence[str],
    snapshots: Sequence[str] = (),
    service_certificate: str | None = None,
    ledger_secrets: str | None = None,
    committed_only: bool = False,
    recovery: bool = False,
) -> dict[str, Any]:
    """Check the ledger in `directory`; the result names every place that is wrong."""
    selection = Selection([Path(name) for name in directory], uncommitted=not committed_only, recovery=recovery)
    begin_s = time.perf_counter()
    try:
        check = check_ledger(
            selection,
            snapshots=[Path(name) for name in snapshots],
            service_cert_pem=None if service_certificate is None else Path(service_certificate).read_text(),
            secrets=None if ledger_secrets is None else read_secrets(Path(ledger_secrets)),
        )
    except (OSError, ValueError) as error:
        raise CLIError(str(error)) from error
    return _document(check, time.perf_counter() - begin_s)


def _document(check: LedgerCheck, seconds: float) -> dict[str, Any]:
    audit = check.audit
    entries = 0 if audit.last_txid is None else audit.last_txid.seqno - audit.first_seqno + 1
    return {
        "verdict": check.verdict.value,
        "exitCode": EXIT_CODES[check.verdict],
        "problems": [_problem(problem) for problem in check.problems],
        "beginsWith": check.begins_with,
        "firstSeqno": audit.first_seqno,
        "lastTxId": _text(audit.last_txid),
        "lastSigned": _text(audit.last_signed),
        "unsignedEntries": _unsigned(audit),
        "unprovenSeqnos": None if audit.uncovered is None else "{}-{}".format(*audit.uncovered),
        "tornEnd": None if audit.torn is None else {**asdict(audit.torn), "file": str(audit.torn.file)},
        "signatures": audit.signatures,
        "coseSignatures": audit.cose_signatures,
        "serviceStatus": audit.service_status,
        "identities": [_identity(identity) for identity in audit.identities],
        "files": audit.chunks,
        "skipped": audit.skipped,
        "snapshots": check.snapshots,
        "entriesPerSecond": round(entries / seconds) if seconds else None,
    }


def _problem(problem: LedgerCorrupt) -> dict[str, Any]:
    return {
        "file": str(problem.file), "offset": problem.offset, "seqno": problem.seqno, "reason": problem.reason,
    }  # fmt: skip


def _identity(identity: Identity) -> dict[str, Any]:
    return {
        "since": str(identity.since),
        "certificate": identity.certificate_pem,
        "endorsedByNext": identity.endorsed,
    }


def _unsigned(audit: LedgerAudit) -> int:
    if audit.last_txid is None:
        return 0
    return audit.last_txid.seqno - (0 if audit.last_signed is None else audit.last_signed.seqno)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
