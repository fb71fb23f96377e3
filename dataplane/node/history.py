"""Committed transactions by seqno, read back from the ledger: receipts of any age (ledger-format.md 4.1, 4.3)."""

from collections.abc import Mapping

from dataplane.errors import InternalError
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.entry import decode_entry
from dataplane.ledger.files import LedgerFiles
from dataplane.ledger.signatures import node_signature
from dataplane.receipt import build_signature_receipt, receipt_from_entries
from dataplane.replica import Replica
from dataplane.txid import TxID


class History:
    """Reads one node's ledger; its replica knows where the signatures are."""

    def __init__(self, replica: Replica, ledger: LedgerFiles) -> None:
        self._replica = replica
        self._ledger = ledger

    def receipt(self, txid: TxID) -> Mapping[str, object]:
        """The JSON receipt of a committed transaction: its leaf, under the nearest signature after it."""
        if self._replica.is_signature_at(txid.seqno):
            signature = node_signature(self._public_writes(txid.seqno))
            if signature is None:
                raise InternalError(f"Transaction {txid} carries no node signature.")
            return build_signature_receipt(signature)
        signed = self._replica.signature_after(txid.seqno)
        if signed is None:
            raise InternalError(f"No signature covers transaction {txid}.")
        (frame,) = self._ledger.read(txid.seqno, txid.seqno)
        secret = self._replica.secrets.at(txid.seqno)
        return receipt_from_entries(decode_entry(frame), secret, self._public_writes(signed))

    def _public_writes(self, seqno: int) -> WriteSet:
        (frame,) = self._ledger.read(seqno, seqno)
        return decode_entry(frame).writes
