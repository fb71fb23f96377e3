"""Endorsements of service identities by their successors (ledger-format.md 4.5).

The first opening endorses its own key. Every recovery endorses the key of the service before it, over the transactions
of that service and the last root it signed, so that the newest key leads back to the first.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import Any

from dataplane.crypto.cose import ALG, CWT_CLAIMS, Header, algorithm_of, sign1
from dataplane.crypto.keys import PrivateKey, spki_der
from dataplane.txid import InvalidTxID, TxID

_ISSUED_AT = 6
_VIEWS, _SEQNOS = 2, 1  # how far the first transaction of a recovered service is from the last of the one before


class MalformedEndorsement(ValueError):
    """A stored endorsement cannot be read."""


def self_endorsement(service_key: PrivateKey, created: TxID, issued_at_s: int) -> dict[str, Any]:
    """The `previous_service_identity_endorsement` value a new service writes when it opens.

    `created` is the service's `current_service_create_txid`, `issued_at_s` Unix time.
    """
    epoch: dict[str, object] = {"epoch.start.txid": str(created)}
    return _endorsement(service_key, spki_der(service_key.public_key()), epoch, issued_at_s) | {
        "endorsement_epoch_begin": str(created),
    }


def successor_endorsement(
    service_key: PrivateKey,
    created: TxID,
    issued_at_s: int,
    *,
    previous: Mapping[str, Any],
    previous_version: int,
    last_signed_root: bytes,
) -> dict[str, Any]:
    """The value a recovered service writes when it opens, over the key that wrote `previous` at `previous_version`.

    `created` is the recovered service's `current_service_create_txid`; `last_signed_root` (32 bytes) the root in the
    last signature of the service before it. Raises `MalformedEndorsement`.
    """
    try:
        endorsed = b64decode(previous["endorsing_key"], validate=True)
        begin = _first_of_endorsed(previous)
    except (KeyError, TypeError, Base64Error, InvalidTxID) as error:
        raise MalformedEndorsement(f"the endorsement written at {previous_version} cannot be read: {error}") from error
    end = TxID(created.view - _VIEWS, created.seqno - _SEQNOS)
    epoch: dict[str, object] = {
        "epoch.start.txid": str(begin),
        "epoch.end.txid": str(end),
        "epoch.end.merkle.root": last_signed_root,
    }
    return _endorsement(service_key, endorsed, epoch, issued_at_s) | {
        "endorsement_epoch_begin": str(begin),
        "endorsement_epoch_end": str(end),
        "previous_version": previous_version,
    }


def _first_of_endorsed(previous: Mapping[str, Any]) -> TxID:
    """Where the service began that wrote `previous`."""
    end = previous.get("endorsement_epoch_end")
    if end is None:
        return TxID.parse(previous["endorsement_epoch_begin"])
    last = TxID.parse(end)
    return TxID(last.view + _VIEWS, last.seqno + _SEQNOS)


def _endorsement(
    service_key: PrivateKey, endorsed_spki_der: bytes, epoch: dict[str, object], issued_at_s: int
) -> dict[str, Any]:
    protected: list[Header] = [
        (ALG, algorithm_of(service_key)),
        (CWT_CLAIMS, {_ISSUED_AT: issued_at_s}),
        ("ccf.v1", epoch),
    ]
    return {
        "endorsement": b64encode(sign1(service_key, protected, endorsed_spki_der)).decode(),
        "endorsing_key": b64encode(spki_der(service_key.public_key())).decode(),
    }
