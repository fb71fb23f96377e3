"""Endpoints every frontend has: commit, tx, receipt and the frontend's own OpenAPI document (node-api.md 2.1)."""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping

from dataplane.api.gov_api import describe
from dataplane.api.node_schemas import with_schemas
from dataplane.api.openapi import document
from dataplane.apps.endpoint import Context, Endpoint, Response, json_response, query_values
from dataplane.apps.historical import find_state
from dataplane.errors import InternalError, InvalidQueryParameterValue, ResourceNotFound, RpcError
from dataplane.kv.tx import Tx
from dataplane.past import Historical, PastState
from dataplane.txid import InvalidTxID, TxID

_OUT_OF_RANGE = "Invalid value for view_history_since, must be in range [1, current_term]"

Deployed = Callable[[Tx], Iterable[Endpoint]]
"""The endpoints the members deployed, as a transaction sees them."""


def endpoints(
    frontend: str, others: Iterable[Endpoint], history: Historical, deployed: Deployed = lambda tx: ()
) -> list[Endpoint]:
    """All endpoints of `frontend`: `others`, and the common ones. The document lists those of `deployed` too."""
    known: list[Endpoint] = list(others)

    def api(context: Context) -> Response:
        listed = [*known, *shared, *deployed(context.tx)]
        return json_response(describe(context, listed) if frontend == "gov" else document(frontend, listed))

    def of_the_past(answer: Callable[[PastState], Response]) -> Callable[[Context], Response]:
        def run(context: Context) -> Response:
            text = query_values(context.request.query).get("transaction_id")
            found = find_state(history, context, text)
            return found if isinstance(found, Response) else answer(found)

        return run

    shared = [
        Endpoint("GET", "/commit", _commit),
        Endpoint("GET", "/tx", _tx),
        Endpoint("GET", "/receipt", of_the_past(lambda state: json_response(state.receipt()))),
        # no part of the published schema
        Endpoint("GET", "/receipt/cose", of_the_past(_cose_receipt), hidden=True),
        Endpoint("GET", "/receipt/cose_endorsements", of_the_past(_cose_endorsements), hidden=True),
        Endpoint("GET", "/api", api),
    ]
    if frontend == "node":
        known, shared = with_schemas(known), with_schemas(shared)
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
        raise InvalidQueryParameterValue("Invalid value for view_history, must be one of [true, false] when present")
    if whole == "true":
        return 1
    since = query.get("view_history_since")
    if since is None:
        return None
    if not since.isdecimal() or int(since) < 1:
        raise InvalidQueryParameterValue(_OUT_OF_RANGE)
    if int(since) > current_view:
        raise RpcError(404, "InvalidQueryParameterValue", _OUT_OF_RANGE)
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


def _cose_receipt(state: PastState) -> Response:
    return Response(200, state.cose_receipt(), {"content-type": "application/cose"})


def _cose_endorsements(state: PastState) -> Response:
    """What a COSE receipt of an earlier service is verified with, newest first, as the logging sample answers it."""
    if state.cose_endorsements is None:
        raise ResourceNotFound("No COSE endorsements available for this transaction.")
    return json_response({"endorsements": [b64encode(cose).decode() for cose in state.cose_endorsements]})
