"""Rekey: a new ledger secret from the next transaction on (ledger-format.md 6.1, 6.4 to 6.6).

Pure. The transaction gives members shares of the new secret, keeps the old one encrypted under it, and hands it to
every trusted node. Who applies the entry takes the secret from there, the primary as well as its backups.
"""

from collections.abc import Callable

from dataplane.crypto.aead import IV_SIZE, KEY_SIZE
from dataplane.governance.nodes import trusted_encryption_keys
from dataplane.governance.service import OpeningRefused, is_open
from dataplane.governance.shares import LatestSecret, issue_shares
from dataplane.kv.tables import (
    ENCRYPTED_LEDGER_SECRETS,
    HISTORICAL_ENCRYPTED_LEDGER_SECRET,
    UNIT_KEY,
    put_json,
)
from dataplane.kv.tx import Tx
from dataplane.ledger.secrets import SharedSecret, historical_secret, previous_secret, secrets_for_nodes

_WORD_SIZE = 8


def rekey(tx: Tx, current: LatestSecret, draw: Callable[[], int]) -> None:
    """Have `tx` introduce a new ledger secret after `current`; `draw` gives random 64-bit words.

    Raises `OpeningRefused` unless the service is Open, `SharesNotPossible` where no shares can be made.
    """
    if not is_open(tx):
        raise OpeningRefused("the ledger can only be rekeyed while the service is open")
    key = draw_bytes(KEY_SIZE, draw)
    issue_shares(tx, key, draw)
    previous = previous_secret(
        current.key,
        current.version,
        successor=key,
        iv=draw_bytes(IV_SIZE, draw),
        stored_version=tx.version_of_previous_write(HISTORICAL_ENCRYPTED_LEDGER_SECRET, UNIT_KEY),
    )
    put_json(tx, HISTORICAL_ENCRYPTED_LEDGER_SECRET, historical_secret(previous=previous))
    shared = secrets_for_nodes([SharedSecret(None, key)], trusted_encryption_keys(tx))
    put_json(tx, ENCRYPTED_LEDGER_SECRETS, shared)


def draw_bytes(size: int, draw: Callable[[], int]) -> bytes:
    """`size` random bytes of `draw`'s 64-bit words."""
    words = -(-size // _WORD_SIZE)
    return b"".join(draw().to_bytes(_WORD_SIZE, "little") for _ in range(words))[:size]
