"""Which certificate the service had in the past: rows of `service.info` followed backwards (ledger-format.md 4.4, 7.1).

`previous_service_identity_version` is the seqno of an earlier write of the table: of the one before (CCF up to 6.x), or
of the first one of the service before the last recovery (7.x). Either way it leads back to the identity of any time.
"""

from collections.abc import Callable, Mapping
from typing import Any

from dataplane.txid import InvalidTxID, TxID


class UnreadableIdentity(ValueError):
    """A row of `service.info` is not what nodes write."""


def created_at(info: Mapping[str, Any]) -> int:
    """The seqno at which the service of `info` began; 1 where old releases did not record it."""
    text = info.get("current_service_create_txid")
    if text is None:
        return 1
    try:
        return TxID.parse(text).seqno
    except (InvalidTxID, TypeError) as error:
        raise UnreadableIdentity(f"service.info names no transaction as its beginning: {text!r}") from error


def certificate_at(seqno: int, info: Mapping[str, Any], info_at: Callable[[int], Mapping[str, Any]]) -> str | None:
    """The service certificate (PEM) in force at `seqno`; None where the rows do not lead back that far (CCF 1.x).

    `info` is the present row, `info_at` gives the one written at a seqno. Raises `UnreadableIdentity`, or what
    `info_at` raises.
    """
    if seqno >= created_at(info):
        return _certificate(info)
    written: int | None = None
    while written is None or (written > seqno and not _began_by(seqno, info)):
        previous = info.get("previous_service_identity_version")
        if previous is None:
            return None
        if not isinstance(previous, int) or (written is not None and previous >= written):
            raise UnreadableIdentity(f"service.info leads from {written} to {previous!r}")
        written, info = previous, info_at(previous)
    return _certificate(info)


def _began_by(seqno: int, info: Mapping[str, Any]) -> bool:
    """Whether the service of this row is known to be the one of `seqno`, though the row was written later."""
    return "current_service_create_txid" in info and created_at(info) <= seqno


def _certificate(info: Mapping[str, Any]) -> str:
    certificate = info.get("cert")
    if not isinstance(certificate, str):
        raise UnreadableIdentity("service.info holds no certificate")
    return certificate
