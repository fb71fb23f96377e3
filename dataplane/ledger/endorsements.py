"""Endorsements of service identities by their successors (ledger-format.md 4.5)."""

from base64 import b64encode
from typing import Any

from dataplane.crypto.cose import ALG, CWT_CLAIMS, Header, algorithm_of, sign1
from dataplane.crypto.keys import PrivateKey, spki_der
from dataplane.txid import TxID

_ISSUED_AT = 6


def self_endorsement(service_key: PrivateKey, created: TxID, issued_at_s: int) -> dict[str, Any]:
    """The `previous_service_identity_endorsement` value a new service writes when it opens.

    `created` is the service's `current_service_create_txid`, `issued_at_s` Unix time.
    """
    epoch: dict[str, object] = {"epoch.start.txid": str(created)}
    return _endorsement(service_key, spki_der(service_key.public_key()), epoch, issued_at_s) | {
        "endorsement_epoch_begin": str(created),
    }


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
