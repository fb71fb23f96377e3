"""Small ledgers for tests: frames of a service with one secret, without a node behind them."""

from dataplane.ledger.entry import encode_entry
from dataplane.ledger.secrets import LedgerSecretCipher
from dataplane.txid import TxID

SECRET = bytes(range(32))
CIPHER = LedgerSecretCipher(SECRET)


def frame(seqno: int, *, view: int = 2, flags: int = 0, size: int = 20) -> bytes:
    """The frame of a transaction that writes `size` private bytes; equal arguments give equal bytes."""
    return encode_entry(TxID(view, seqno), {"records": {b"key": bytes(size)}}, secret=CIPHER, flags=flags).frame
