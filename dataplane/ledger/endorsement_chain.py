"""Which service key signed at a transaction of the past: COSE endorsements followed backwards (ledger-format.md 4.5).

A recovered service signs the key of the one before it, with the epoch in which that key was the service's. From a key
that is trusted, each endorsement leads one identity further back; adjacent epochs leave no gap. An endorsement of a key
by itself leads nowhere and is left out: a new service writes one, and so did a second opening in CCF's past.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataplane.crypto.cose import CoseDecodeError, Sign1, decode_sign1, verify_sign1
from dataplane.crypto.keys import InvalidKey, PublicKey, load_public_key_der, spki_der
from dataplane.txid import InvalidTxID, TxID

RECOVERY_VIEW_STEP = 2
"""A recovered service begins this many views after the last one of the service before (ledger-format.md 3)."""

_CCF_V1 = "ccf.v1"
_DIGEST_SIZE = 32


class InvalidEndorsement(ValueError):
    """An endorsement is malformed, not signed by the key it should be, or does not fit its neighbours."""

    code = "InvalidEndorsement"


@dataclass(frozen=True, slots=True)
class Endorsement:
    """One COSE endorsement: `key` was the service's from `begin` to `end`, and `root` was signed last in that time.

    `end` and `root` are None where a service endorses its own key.
    """

    message: Sign1
    key: PublicKey
    begin: TxID
    end: TxID | None
    root: bytes | None


def read_endorsement(cose: bytes) -> Endorsement:
    """Read one endorsement, its signature not checked; raises `InvalidEndorsement`."""
    try:
        message = decode_sign1(cose)
        key = load_public_key_der(message.payload or b"")
        epoch: Any = message.protected.get(_CCF_V1)
        begin, end = TxID.parse(epoch["epoch.start.txid"]), epoch.get("epoch.end.txid")
        root = epoch.get("epoch.end.merkle.root")
        last = None if end is None else TxID.parse(end)
    except (CoseDecodeError, InvalidKey, InvalidTxID, KeyError, TypeError, AttributeError) as error:
        raise InvalidEndorsement(f"the endorsement cannot be read: {error}") from error
    if root is not None and not (isinstance(root, bytes) and len(root) == _DIGEST_SIZE):
        raise InvalidEndorsement("the root in the endorsement is no digest")
    return Endorsement(message, key, begin, last, root)


def signing_key_at(txid: TxID, endorsements: Sequence[bytes], service_key: PublicKey) -> PublicKey:
    """The key that signed for the service at `txid`, found from `service_key` over endorsements, newest first.

    Without endorsements it is `service_key` itself. Raises `InvalidEndorsement` where the chain breaks or does not
    end in the epoch of `txid`.
    """
    key, newer = service_key, None
    for cose in endorsements:
        link = read_endorsement(cose)
        _check_link(link, key, newer)
        key, newer = link.key, link
    if newer is not None:
        assert newer.end is not None
        if not (newer.begin.seqno <= txid.seqno <= newer.end.seqno and newer.begin.view <= txid.view <= newer.end.view):
            raise InvalidEndorsement(f"the endorsements lead to {newer.begin}..{newer.end}, not to {txid}")
    return key


def endorsements_back_to(
    target: TxID, row: Mapping[str, Any], row_at: Callable[[int], Mapping[str, Any]]
) -> tuple[bytes, ...] | None:
    """The endorsements from the present service to that of `target`, newest first; None where none was ever made.

    `row` is the present value of `previous_service_identity_endorsement`, `row_at` gives the one written at a seqno.
    Raises `InvalidEndorsement`, or what `row_at` raises.
    """
    chain: list[bytes] = []
    while True:
        cose, link, endorsing_key, previous = read_endorsement_row(row)
        if link.end is None or previous is None:
            return None
        if spki_der(link.key) != endorsing_key:
            chain.append(cose)
            if link.begin.seqno <= target.seqno:
                return tuple(chain)
        row = row_at(previous)


def _check_link(link: Endorsement, key: PublicKey, newer: Endorsement | None) -> None:
    if link.end is None:
        raise InvalidEndorsement("the endorsement names no end of its epoch")
    if link.begin.seqno > link.end.seqno or link.begin.view > link.end.view:
        raise InvalidEndorsement(f"the epoch {link.begin}..{link.end} ends before it begins")
    if newer is not None and newer.begin != TxID(link.end.view + RECOVERY_VIEW_STEP, link.end.seqno + 1):
        raise InvalidEndorsement(f"an epoch that ends at {link.end} is not followed by one from {newer.begin} on")
    if not verify_sign1(link.message, key):
        raise InvalidEndorsement(f"the endorsement of {link.begin}..{link.end} is not signed by the later service")


def read_endorsement_row(row: Mapping[str, Any]) -> tuple[bytes, Endorsement, bytes, int | None]:
    """The endorsement of a row, itself read, the key that made it, and where the previous row was written."""
    try:
        cose = b64decode(row["endorsement"], validate=True)
        endorsing_key = b64decode(row["endorsing_key"], validate=True)
        begin, end = row["endorsement_epoch_begin"], row.get("endorsement_epoch_end")
        previous = row.get("previous_version")
        previous = None if previous is None else int(previous)
    except (KeyError, TypeError, ValueError, Base64Error) as error:
        raise InvalidEndorsement(f"the row of an endorsement cannot be read: {error!r}") from error
    link = read_endorsement(cose)
    if str(link.begin) != begin or (None if link.end is None else str(link.end)) != end:
        raise InvalidEndorsement(f"the row says {begin}..{end}, its endorsement {link.begin}..{link.end}")
    return cose, link, endorsing_key, previous
