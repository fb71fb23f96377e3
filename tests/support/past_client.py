"""A client that asks one node for the past, and waits while it is fetched."""

from base64 import b64decode
from typing import Any

from dataplane.client.session import Response, Session
from dataplane.txid import TxID
from tests.support.load import Written
from tests.support.nodes import wait_until

TXID_HEADER = "x-ms-ccf-transaction-id"


def fetched(session: Session, path: str, txid: TxID | None = None, timeout_s: float = 15) -> Response:
    """The answer to a GET once it is not 202 any more; `txid` is sent in the header of historical endpoints."""
    headers = {} if txid is None else {TXID_HEADER: str(txid)}

    def ask() -> Response | None:
        answer = session.request("GET", path, headers=headers)
        if answer.status == 202:
            assert int(answer.headers["retry-after"]) > 0
            return None
        return answer

    return wait_until(f"{path} of the past", ask, timeout_s)


def cose_receipt(session: Session, txid: TxID) -> bytes:
    """The COSE receipt of a transaction."""
    answer = fetched(session, f"/node/receipt/cose?transaction_id={txid}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/cose"), answer.body
    return answer.body


def cose_endorsements(session: Session, txid: TxID) -> tuple[bytes, ...]:
    """What the COSE receipt of a transaction is verified with; nothing where the present service signed it."""
    answer = fetched(session, f"/node/receipt/cose_endorsements?transaction_id={txid}")
    if answer.status == 404:
        return ()
    assert answer.status == 200, answer.body
    return tuple(map(b64decode, answer.json()["endorsements"]))


def historical(session: Session, written: Written) -> dict[str, Any]:
    """What the claims app shows of the transaction that wrote a record."""
    answer = fetched(session, f"/app/claim/historical?id={written.record}", written.txid)
    assert answer.status == 200, answer.body
    return dict(answer.json())


def secrets_in(session: Session, first: int, last: int) -> dict[str, str]:
    """Record to secret, of every transaction from seqno `first` to `last`."""
    answer = fetched(session, f"/app/claims/range?handle={first}&from={first}&to={last}", timeout_s=60)
    assert answer.status == 200, answer.body
    entries = answer.json()
    assert [TxID.parse(entry["transactionId"]).seqno for entry in entries] == list(range(first, last + 1))
    return {record: secret for entry in entries for record, secret in entry["secrets"].items()}
