"""How a request for a transaction of the past is answered while it is not there (node-api.md 2.1.2)."""

from collections.abc import Mapping
from typing import Any

from dataplane.apps.endpoint import Context, Response, json_response
from dataplane.errors import RpcError
from dataplane.kv.tables import SERVICE_INFO, get_json
from dataplane.past import Historical, PastState
from dataplane.txid import InvalidTxID, TxID, TxStatus

RETRY_AFTER_S = 3


def find_state(history: Historical, context: Context, text: str | None) -> PastState | Response:
    """The state a request is about, or the answer that has to do instead.

    `text` is the transaction id as the client wrote it. Absent and malformed ones are 404 `TransactionInvalid`, as in
    7.0.0-dev5's error hook. Raises `RpcError` for ids that can never be had.
    """
    txid = _parse(text)
    status = context.node.status(txid)
    message = f"Only committed transactions can be queried. Transaction {txid} is {status}."
    if status is TxStatus.INVALID:
        raise _invalid(message)
    if status is not TxStatus.COMMITTED:
        body = {"error": {"code": "TransactionPendingOrUnknown", "message": message}}
        return json_response(body, 404, {"cache-control": "no-cache"})
    _check_service(context, txid)
    state = history.state(txid)
    if state is not None:
        return state
    message = f"Historical transaction {txid} is not currently available."
    return Response(202, message.encode(), {"content-type": "text/plain", "retry-after": str(RETRY_AFTER_S)})


def _parse(text: str | None) -> TxID:
    if text is None:
        raise _invalid("The transaction id is missing.")
    try:
        return TxID.parse(text)
    except InvalidTxID as error:
        raise _invalid(f"The transaction id cannot be read: {error}.") from error


def _check_service(context: Context, txid: TxID) -> None:
    """Until a recovered service is open, nobody holds the secrets of what was written before it."""
    info: Mapping[str, Any] | None = get_json(context.tx, SERVICE_INFO)
    if info is None or info["status"] == "Open":
        return
    created = info.get("current_service_create_txid")
    if created is not None and txid.view < TxID.parse(created).view:
        raise _invalid(
            f"Historical transaction {txid} is not signed by the current service identity key, "
            "and cannot be retrieved until recovery is complete."
        )


def _invalid(message: str) -> RpcError:
    return RpcError(404, "TransactionInvalid", message)
