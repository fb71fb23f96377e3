"""Transactions of the past: what one is, and what may be asked of a node's history (node-api.md 5.8).

A node fetches entries from its ledger in the background, so the first who ask get nothing yet. What is handed out has
been proven against the ledger's signatures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import immutables

from dataplane.errors import RpcError
from dataplane.kv.tx import Table, Tx
from dataplane.ledger.proven import ProvenEntry
from dataplane.ledger.signatures import InvalidSignatureTx
from dataplane.receipt import receipt_of
from dataplane.receipt_cose import cose_receipt, merkle_proof
from dataplane.txid import TxID

DEFAULT_EXPIRY_S = 1800
"""How long a state is kept for the one who asked for it, when nothing else is said."""


@dataclass(frozen=True, slots=True)
class PastState:
    """One transaction of the past.

    `service_endorsements` gives the PEM certificates a JSON receipt needs, `cose_endorsements` what a COSE receipt
    needs: None where the present service made the signature, or where no endorsement leads back.
    """

    entry: ProvenEntry
    service_endorsements: Callable[[], Sequence[str]] = tuple
    cose_endorsements: tuple[bytes, ...] | None = None

    @property
    def txid(self) -> TxID:
        """Its transaction id."""
        return self.entry.txid

    @property
    def is_signature(self) -> bool:
        """Whether it is a signature transaction."""
        return self.entry.path is None

    def receipt(self) -> dict[str, Any]:
        """The JSON receipt; raises `RpcError` (404) where no node signed."""
        try:
            return receipt_of(self.entry, self.service_endorsements())
        except InvalidSignatureTx as error:
            raise _not_there(error) from error

    def cose_receipt(self) -> bytes:
        """The COSE receipt; raises `RpcError` (404) for signature transactions and where only a node signed."""
        try:
            return cose_receipt(self.entry)
        except InvalidSignatureTx as error:
            raise _not_there(error) from error

    def merkle_proof(self) -> bytes:
        """The CBOR inclusion proof alone; raises `RpcError` (404) for signature transactions."""
        try:
            return merkle_proof(self.entry)
        except InvalidSignatureTx as error:
            raise _not_there(error) from error

    def tx(self) -> Tx:
        """A transaction for reading that sees what this one wrote, and nothing else."""
        seqno = self.entry.txid.seqno
        tables = {}
        for name, rows in self.entry.writes.items():
            kept = immutables.Map({key: (seqno, value) for key, value in rows.items() if value is not None})
            tables[name] = Table(kept, seqno)
        return Tx(tables, seqno)


class Historical(Protocol):
    """What endpoints and scripts may ask of the node's history."""

    def state(self, txid: TxID) -> PastState | None:
        """A committed transaction, None while it is being fetched or not to be had."""

    def states(self, handle: int, first: int, last: int, expiry_s: float) -> Sequence[PastState] | None:
        """The transactions of a range, None while they are being fetched, not committed or not to be had.

        They are kept under `handle` for `expiry_s` seconds after the last call, or until another range is asked for.
        """

    def drop(self, handle: int) -> bool:
        """Forget what is kept under `handle`; whether there was anything."""


def _not_there(error: InvalidSignatureTx) -> RpcError:
    return RpcError(404, "ResourceNotFound", f"There is no such proof: {error}.")
