"""Endpoints every frontend has: commit, tx, receipt and the frontend's own OpenAPI document (node-api.md 2.1)."""

from collections.abc import Callable, Iterable, Mapping

from dataplane.api.openapi import document
from dataplane.apps.endpoint import Context, Endpoint, Response, json_response, query_values
from dataplane.errors import InternalError, InvalidQueryParameterValue, RpcError
from dataplane.kv.tx import Tx
from dataplane.txid import InvalidTxID, TxID, TxStatus

Receipts = Callable[[TxID], Mapping[str, object]]
"""The JSON receipt of a committed transaction of this node's ledger."""


Deployed = Callable[[Tx], Iterable[Endpoint]]
"""The endpoints the members deployed, as a transaction sees them."""


def endpoints(
    frontend: str, others: Iterable[Endpoint], receipts: Receipts, deployed: Deployed = lambda tx: ()
) -> list[Endpoint]:
    """All endpoints of `frontend`: `others`, and the common ones. The document lists those of `deployed` too."""
    known = list(others)

    def api(context: Context) -> Response:
        return json_response(document(frontend, [*known, *shared, *deployed(context.tx)]))

    def receipt(context: Context) -> Response:
        return _receipt(context, receipts)

    shared = [
        Endpoint("GET", "/commit", _commit),
        Endpoint("GET", "/tx", _tx),
        Endpoint("GET", "/receipt", receipt),
        Endpoint("GET", "/api", api),
    ]
    return [*known, *shared]


def _commit(context: Context) -> Response:
    node = context.node
    if node.current_view == 0:
        raise InternalError("This node is not part of a network yet.")
    body: dict[str, object] = {"transaction_id": str(node.commit_txid())}
    since = _history_since(query_values(context.request.query), node.current_view)
    if since is not None:
        history = [str(TxID(view, first)) for view, first in enumerate(node.view_history(), start=1) if view >= since]
        if history:
            body["view_history"] = history
    return json_response(body)


def _history_since(query: Mapping[str, str], current_view: int) -> int | None:
    whole = query.get("view_history", "false")
    if whole not in ("true", "false"):
        raise InvalidQueryParameterValue("Invalid value for view_history: expected true or false.")
    if whole == "true":
        return 1
    since = query.get("view_history_since")
    if since is None:
        return None
    if not since.isdecimal() or int(since) < 1:
        raise InvalidQueryParameterValue("Invalid value for view_history_since: expected a view, at least 1.")
    if int(since) > current_view:
        text = f"Invalid value for view_history_since: {since} exceeds the current view {current_view}."
        raise RpcError(404, "InvalidQueryParameterValue", text)
    return int(since)


def _tx(context: Context) -> Response:
    txid = _required_txid(context)
    return json_response({"transaction_id": str(txid), "status": context.node.status(txid).value})


def _required_txid(context: Context) -> TxID:
    text = query_values(context.request.query).get("transaction_id")
    if text is None:
        raise InvalidQueryParameterValue("The query parameter transaction_id is missing.")
    try:
        return TxID.parse(text)
    except InvalidTxID as error:
        raise InvalidQueryParameterValue(f"The query parameter transaction_id: {error}.") from error


def _receipt(context: Context, receipts: Receipts) -> Response:
    """The historical adapter's answers (node-api.md 2.1.2). A malformed id is 404 as in 7.0.0-dev5's error hook."""
    try:
        txid = _required_txid(context)
    except InvalidQueryParameterValue as error:
        raise RpcError(404, "TransactionInvalid", error.message) from error
    status = context.node.status(txid)
    if status is TxStatus.INVALID:
        raise RpcError(404, "TransactionInvalid", f"Transaction {txid} is invalid.")
    if status is not TxStatus.COMMITTED:
        body = {"code": "TransactionPendingOrUnknown", "message": f"Transaction {txid} is not available: {status}."}
        return json_response({"error": body}, 404, {"cache-control": "no-cache"})
    return json_response(receipts(txid))
