"""Services of the past, and a present one that recovered them: what receipts of any age are made from in tests.

The present service exists as far as receipts need it: a key and certificate, the two rows of the store that lead back
to earlier identities, and all ledger secrets.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.crypto.certs import endorse_service_key, self_signed_service_certificate
from dataplane.crypto.keys import PrivateKey
from dataplane.kv.tables import PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, SERVICE_INFO, UNIT_KEY, load_json
from dataplane.ledger.endorsement_chain import endorsements_back_to
from dataplane.ledger.endorsements import successor_endorsement
from dataplane.ledger.entry import DecodedEntry, decode_entry
from dataplane.ledger.identities import certificate_at, created_at
from dataplane.ledger.proven import Cover, ProvenEntry, check_endorsed, prove, read_cover
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.signatures import is_signature
from dataplane.merkle.tree import MerkleTree
from dataplane.receipt import receipt_of
from dataplane.txid import TxID
from tests.support.real_ledgers import frames_of, unwrap_secrets
from tests.support.service_ledger import ISSUED_AT_S, ServiceLedger

Row = Mapping[str, Any]


@dataclass
class PresentService:
    """The service of today over `frames`, the ledger of all its predecessors."""

    name: str
    key: PrivateKey
    certificate: str
    frames: Sequence[bytes]
    secrets: LedgerSecrets
    info: Row
    endorsement: Row | None
    infos: Mapping[int, Row]
    endorsements: Mapping[int, Row]
    _issued: dict[str, str] = field(default_factory=dict)

    def proven(self) -> Iterator[ProvenEntry]:
        """Every transaction that a signature covers, newest first, checked against the service of its time."""
        cover: tuple[Cover, MerkleTree] | None = None
        for frame in reversed(self.frames):
            entry = decode_entry(frame, self.secrets)
            if is_signature(entry.writes):
                cover = read_cover(entry)
                certificate = certificate_at(entry.txid.seqno, self.info, self.infos.__getitem__)
                if certificate is not None:
                    check_endorsed(cover[0], certificate)
            if cover is not None:
                yield prove(entry, len(frame), self.secrets.at(entry.txid.seqno), *cover)

    def receipt(self, entry: ProvenEntry) -> dict[str, Any]:
        """The JSON receipt, with the X.509 endorsement where an earlier service endorsed the node that signed."""
        earlier = certificate_at(entry.txid.seqno, self.info, self.infos.__getitem__)
        if earlier is None or earlier == self.certificate:
            return receipt_of(entry)
        if earlier not in self._issued:
            self._issued[earlier] = endorse_service_key(self.key, self.certificate, earlier, 1 + len(self._issued))
        return receipt_of(entry, [self._issued[earlier]])

    def cose_endorsements(self, txid: TxID) -> tuple[bytes, ...] | None:
        """The COSE endorsements that a receipt of `txid` needs; None where there are none."""
        if txid.seqno >= created_at(self.info):
            return ()
        if self.endorsement is None:
            return None
        return endorsements_back_to(txid, self.endorsement, self.endorsements.__getitem__)


def recovered(name: str, services: Path) -> PresentService:
    """A present service over one of the real ledgers."""
    frames = frames_of(services / name / "ledger")
    secrets = unwrap_secrets(frames, services / name / "common")
    entries = [decode_entry(frame, secrets) for frame in frames]
    infos, rows = _rows(entries, SERVICE_INFO), _rows(entries, PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
    last = next(entry for entry in reversed(entries) if is_signature(entry.writes))
    created = TxID(last.txid.view + 2, last.txid.seqno + 1)
    key = ec.generate_private_key(ec.SECP384R1())
    start = datetime.now(UTC) - timedelta(minutes=1)
    certificate = self_signed_service_certificate(key, "CN=CCF Service", 7, start, 30)
    info = {
        "cert": certificate,
        "status": "Open",
        "current_service_create_txid": str(created),
        "previous_service_identity_version": created_at(infos[max(infos)]),
    }
    row = None
    if rows:
        latest, root = max(rows), read_cover(last)[0].root
        row = successor_endorsement(
            key, created, ISSUED_AT_S, previous=rows[latest], previous_version=latest, last_signed_root=root
        )
    return PresentService(name, key, certificate, frames, secrets, info, row, infos, rows)


def present(ledger: ServiceLedger) -> PresentService:
    """The newest service of a ledger of ours."""
    entries = list(ledger.decoded())
    rows = _rows(entries, PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
    return PresentService(
        "ours", ledger.service_key, ledger.service_cert, [entry.frame for entry in ledger.entries], ledger.secrets,
        ledger.service_info(), ledger.endorsement, _rows(entries, SERVICE_INFO), rows,
    )  # fmt: skip


def _rows(entries: Sequence[DecodedEntry], table: str) -> dict[int, Row]:
    """Every value of a single-value table, by the seqno that wrote it."""
    values = ((entry.txid.seqno, entry.writes.get(table, {}).get(UNIT_KEY)) for entry in entries)
    return {seqno: load_json(value) for seqno, value in values if value is not None}
