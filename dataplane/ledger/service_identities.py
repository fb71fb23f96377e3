"""The identities a service had, in order, and how each vouches for the one before (ledger-format.md 4.5).

A recovery gives the service another key. Where releases write endorsements, the new service signs the key of the one
before, its first and last transaction, and the last root it signed: all of it is compared with what the ledger held.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dataplane.crypto.certs import InvalidCertificate, public_key_of
from dataplane.crypto.cose import verify_sign1
from dataplane.crypto.keys import InvalidKey, PublicKey, spki_der
from dataplane.ledger.endorsement_chain import RECOVERY_VIEW_STEP, InvalidEndorsement, read_endorsement_row
from dataplane.txid import TxID


@dataclass(slots=True)
class Identity:
    """One identity. `certificate_pem` is its newest certificate, `since` the transaction that brought it.

    `endorsed`: whether the identity after it endorsed it in the ledger; `last_signed_root` is what it signed last.
    """

    certificate_pem: str
    since: TxID
    endorsed: bool = False
    last_signed_root: bytes | None = None


class ServiceIdentities:
    """The identities seen so far. `complete`: whether the ledger was followed from its first transaction."""

    def __init__(self, *, complete: bool = True) -> None:
        self.seen: list[Identity] = []
        self._complete = complete

    @property
    def present(self) -> Identity | None:
        """The newest one."""
        return self.seen[-1] if self.seen else None

    def learn(self, certificate_pem: str, txid: TxID) -> None:
        """`service.info` holds this certificate from `txid` on. Raises `InvalidEndorsement` where it has no key."""
        key = _spki(certificate_pem)
        present = self.present
        if present is not None and _spki(present.certificate_pem) == key:
            present.certificate_pem = certificate_pem
        else:
            self.seen.append(Identity(certificate_pem, txid))

    def signed(self, root: bytes) -> None:
        """The present identity's nodes signed `root`."""
        if self.present is not None:
            self.present.last_signed_root = root

    def endorse(self, row: Mapping[str, Any]) -> None:
        """`previous_service_identity_endorsement` was written. Raises `InvalidEndorsement` unless it holds."""
        cose, link, endorsing_key, _ = read_endorsement_row(row)
        present = self.present
        if present is None or endorsing_key != _spki(present.certificate_pem):
            raise InvalidEndorsement("the endorsement is not made with the key of the service")
        if not verify_sign1(link.message, _key(present.certificate_pem)):
            raise InvalidEndorsement("the signature of the endorsement does not hold")
        assert cose
        endorsed = spki_der(link.key)
        if endorsed == endorsing_key:
            return  # of itself: a new service, and a second opening in CCF's past
        previous = self.seen[-2] if len(self.seen) > 1 else None
        if previous is None and not self._complete:
            return  # of a time before the snapshot this began with
        if previous is None or _spki(previous.certificate_pem) != endorsed:
            raise InvalidEndorsement("the endorsed key is not that of the service before")
        last = TxID(present.since.view - RECOVERY_VIEW_STEP, present.since.seqno - 1)
        if link.end != last or link.root != previous.last_signed_root:
            raise InvalidEndorsement(f"the endorsement ends with {link.end}, the service before with {last}")
        previous.endorsed = True


def _spki(certificate_pem: str) -> bytes:
    return spki_der(_key(certificate_pem))


@lru_cache(maxsize=64)
def _key(certificate_pem: str) -> PublicKey:
    try:
        return public_key_of(certificate_pem)
    except (InvalidCertificate, InvalidKey) as error:
        raise InvalidEndorsement(f"the service's certificate cannot be read: {error}") from error
