"""Check a ledger directory or a receipt offline, and say where it breaks (ledger-format.md 9)."""

from dataclasses import dataclass
from pathlib import Path

from dataplane.client.audit import LedgerCorrupt, Selection, audit_ledger
from dataplane.ledger.secrets import LedgerSecrets
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
    An entry that was never written whole ends an open chunk, and is no corruption.
    """
    audit = audit_ledger(Selection([directory], uncommitted=uncommitted), secrets=secrets, limit=1)
    if audit.problems:
        raise audit.problems[0]
    return LedgerReport(
        last_txid=audit.last_txid,
        last_signed=audit.last_signed,
        signatures=audit.signatures,
        cose_signatures=audit.cose_signatures,
        chunks=tuple(audit.chunks),
        service_status=audit.service_status,
        service_cert_pem=audit.identities[-1].certificate_pem if audit.identities else None,
    )
