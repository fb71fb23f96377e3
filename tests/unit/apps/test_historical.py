"""Transactions of the past: what requests are answered, and what scripts see (node-api.md 2.1.2, 5.5, 5.8)."""

import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from dataplane.api.common import endpoints
from dataplane.apps.endpoint import Context, Request, Response
from dataplane.errors import CcfError
from dataplane.kv.store import Store
from dataplane.kv.tables import SERVICE_INFO, UNIT_KEY, dump_json
from dataplane.past import PastState
from dataplane.receipt import verify_receipt
from dataplane.receipt_cose import verify_cose_receipt
from dataplane.txid import TxID, TxStatus
from tests.support.js_apps import Node, World, one_function
from tests.support.past_services import present
from tests.support.service_ledger import ServiceLedger, filled_ledger

LEDGER = filled_ledger(12)
SERVICE = present(LEDGER)
STATES = {entry.txid.seqno: PastState(entry) for entry in SERVICE.proven()}
PLAIN = next(seqno for seqno, state in STATES.items() if "records" in state.entry.writes)
SIGNATURE = 2


class Past:
    """A history that has what it is given, after as many calls as it is told."""

    def __init__(self, calls: int = 0) -> None:
        self.calls = calls
        self.asked: list[tuple[object, ...]] = []

    def state(self, txid: TxID) -> PastState | None:
        self.calls -= 1
        return None if self.calls >= 0 else STATES[txid.seqno]

    def states(self, handle: int, first: int, last: int, expiry_s: float) -> Sequence[PastState] | None:
        self.asked.append((handle, first, last, expiry_s))
        self.calls -= 1
        return None if self.calls >= 0 else [STATES[seqno] for seqno in range(first, last + 1)]

    def drop(self, handle: int) -> bool:
        self.asked.append((handle,))
        return handle == 7


class CommittedNode(Node):
    def status(self, txid: TxID) -> TxStatus:
        if txid.view > 9:
            return TxStatus.INVALID if txid.seqno < 100 else TxStatus.UNKNOWN
        return TxStatus.COMMITTED if txid.seqno in STATES else TxStatus.PENDING


def ask(path: str, history: Past | None = None, info: dict[str, Any] | None = None) -> Response:
    """GET a common endpoint of a node whose service is Open, unless told otherwise."""
    store = Store()
    store.apply(1, {SERVICE_INFO: {UNIT_KEY: dump_json(info or {"status": "Open"})}})
    found = {endpoint.path: endpoint for endpoint in endpoints("node", (), history or Past())}
    route, _, query = path.partition("?")
    request = Request("GET", path, route, query, {}, b"")
    return found[route].run(Context(store.begin(), request, None, CommittedNode()))


def refusal(path: str, **info: Any) -> CcfError:
    with pytest.raises(CcfError) as caught:
        ask(path, info=info or None)
    return caught.value


def test_a_receipt() -> None:
    for seqno, state in STATES.items():
        response = ask(f"/receipt?transaction_id={state.txid}")
        assert (response.status, response.headers) == (200, {"content-type": "application/json"})
        verified = verify_receipt(json.loads(response.body), LEDGER.service_cert)
        assert verified.txid == (None if state.is_signature else TxID(state.txid.view, seqno))


def test_a_cose_receipt() -> None:
    response = ask(f"/receipt/cose?transaction_id={STATES[PLAIN].txid}")
    assert (response.status, response.headers) == (200, {"content-type": "application/cose"})
    assert verify_cose_receipt(response.body, LEDGER.service_cert).txid == STATES[PLAIN].txid
    error = refusal(f"/receipt/cose?transaction_id=2.{SIGNATURE}")
    assert (error.status, error.code) == (404, "ResourceNotFound")


def test_it_stays_out_of_the_published_schema() -> None:
    paths = json.loads(ask("/api").body)["paths"]
    assert [path for path in paths if path.endswith("/receipt")]
    assert not [path for path in paths if "cose" in path]


@pytest.mark.parametrize("path", ["/receipt", "/receipt/cose"])
def test_what_is_not_fetched_yet(path: str) -> None:
    history = Past(calls=1)
    response = ask(f"{path}?transaction_id=2.{PLAIN}", history)
    assert (response.status, response.headers) == (202, {"content-type": "text/plain", "retry-after": "3"})
    assert f"2.{PLAIN}" in response.body.decode()
    assert ask(f"{path}?transaction_id={STATES[PLAIN].txid}", history).status == 200


@pytest.mark.parametrize("query", ["", "?transaction_id=", "?transaction_id=x", "?transaction_id=0.1", "?other=2.1"])
def test_no_transaction_id(query: str) -> None:
    error = refusal(f"/receipt{query}")
    assert (error.status, error.code) == (404, "TransactionInvalid")


def test_pending_unknown_and_invalid() -> None:
    for txid, word in (("2.99", "Pending"), ("99999.999999", "Unknown")):
        response = ask(f"/receipt?transaction_id={txid}")
        assert (response.status, response.headers["cache-control"]) == (404, "no-cache")
        error = json.loads(response.body)["error"]
        assert error["code"] == "TransactionPendingOrUnknown"
        assert txid in error["message"]
        assert word in error["message"]
    error = refusal("/receipt?transaction_id=99999.1")
    assert (error.status, error.code) == (404, "TransactionInvalid")


@pytest.mark.parametrize("status", ["Recovering", "WaitingForRecoveryShares", "Opening"])
def test_what_an_earlier_service_wrote_waits_for_recovery(status: str) -> None:
    error = refusal("/receipt?transaction_id=2.5", status=status, current_service_create_txid="4.10")
    assert (error.status, error.code) == (404, "TransactionInvalid")
    assert "not signed by the current service" in error.message
    own = {"status": status, "current_service_create_txid": "2.1"}
    assert ask("/receipt?transaction_id=2.5", info=own).status == 200
    assert (
        ask("/receipt?transaction_id=2.5", info={"status": "Open", "current_service_create_txid": "4.10"}).status == 200
    )
    assert ask("/receipt?transaction_id=2.5", info={"status": status}).status == 200


def test_without_a_node_signature_there_is_no_json_receipt() -> None:
    entry = STATES[PLAIN].entry
    state = PastState(replace(entry, cover=replace(entry.cover, node=None)))
    with pytest.raises(CcfError) as caught:
        state.receipt()
    assert (caught.value.status, caught.value.code) == (404, "ResourceNotFound")


# Scripts


def script(body: str, history: Past | None = None, **endpoint: Any) -> World:
    world = World(history=history or Past(), node=CommittedNode())
    return world.deploy(one_function(f"export function run(request) {{ {body} }}", verb="get", **endpoint))


def historical(body: str, txid: str | None, history: Past | None = None) -> Response:
    headers = {} if txid is None else {"x-ms-ccf-transaction-id": txid}
    return script(body, history, mode="historical").request("GET", "/app/run", headers=headers)


def value(response: Response) -> Any:
    assert response.status == 200, response.body
    return json.loads(response.body)


def test_a_historical_endpoint_sees_one_transaction() -> None:
    state = STATES[PLAIN]
    ((key, record),) = state.entry.writes["public:records"].items()
    assert record is not None
    answer = value(
        historical(
            "const { kv, transactionId } = ccf.historicalState; const records = kv['public:records'];"
            f"const key = ccf.strToBuf('{key.decode()}'); const rows = [];"
            "records.forEach((v, k) => rows.push([ccf.bufToStr(k), ccf.bufToStr(v)]));"
            "const gone = kv['records'];"
            "return { body: [transactionId, records.has(key), ccf.bufToStr(records.get(key)), records.size, rows,"
            " records.getVersionOfPreviousWrite(key), gone.get(key).byteLength, gone.has(ccf.strToBuf('gone')),"
            " gone.size, kv['records'].get(ccf.strToBuf('other')) === undefined, kv['none'].size] }",
            str(state.txid),
        )
    )
    text = record.decode()
    assert answer == [
        str(state.txid), True, text, 1, [[key.decode(), text]], PLAIN, 60, False, 1, True, 0,
    ]  # fmt: skip


def test_the_receipt_is_one_a_client_can_verify() -> None:
    """As the logging sample answers it, which takes the claims out (drop-in.md 4.1)."""
    seqno = next(seqno for seqno, state in STATES.items() if state.entry.components.claims_digest != bytes(32)
                 and not state.is_signature)  # fmt: skip
    txid, claims = str(STATES[seqno].txid), STATES[seqno].entry.components.claims_digest
    receipt = value(historical("return { body: ccf.historicalState.receipt }", txid))
    assert receipt.pop("is_signature_transaction") is False
    assert {"cert", "leaf_components", "node_id", "proof", "signature"} == set(receipt)
    assert verify_receipt(receipt, LEDGER.service_cert).txid == STATES[seqno].txid
    stripped = value(
        historical(
            "const r = ccf.historicalState.receipt; delete r.leaf_components.claims_digest; return { body: r }", txid
        )
    )
    assert verify_receipt(stripped, LEDGER.service_cert, claims).claims_digest == claims


def test_the_receipt_of_a_signature() -> None:
    receipt = value(historical("return { body: ccf.historicalState.receipt }", f"2.{SIGNATURE}"))
    assert receipt["is_signature_transaction"] is True
    assert receipt["root_hex"] == receipt["leaf"] == STATES[SIGNATURE].entry.cover.root.hex()


def test_adapter_answers_come_before_the_script() -> None:
    body = "throw new Error('ran')"
    assert historical(body, f"2.{PLAIN}", Past(calls=1)).status == 202
    assert historical(body, "99999.999999").status == 404
    for txid in (None, "x", "99999.1"):
        with pytest.raises(CcfError) as caught:
            historical(body, txid)
        assert (caught.value.status, caught.value.code) == (404, "TransactionInvalid")


def test_the_past_cannot_be_changed() -> None:
    body = (
        "const m = ccf.historicalState.kv['public:records']; const k = ccf.strToBuf('k'); const out = [];"
        "for (const f of [() => m.set(k, k), () => m.delete(k), () => m.clear(),"
        " () => ccf.historicalState.kv['public:ccf.reserved'].get(k), () => ccf.kv['public:records'].set(k, k)])"
        "{ try { f(); out.push('done') } catch (e) { out.push([e.name, e.message]) } }"
        "return { body: out }"
    )
    answers = value(historical(body, f"2.{PLAIN}"))
    assert [name for name, _ in answers] == ["TypeError"] * 5
    assert all("read-only in a historical state" in message for _, message in answers[:3])
    assert "read_write_restrictions" in answers[0][1]


def test_wrong_arguments_of_a_past_table() -> None:
    body = (
        "const m = ccf.historicalState.kv['public:records']; const out = [];"
        "for (const f of [() => m.get('text'), () => m.get(), () => m.has(1, 2), () => m.forEach(5),"
        " () => m.getVersionOfPreviousWrite()]) { try { f(); out.push('done') } catch (e) { out.push(e.name) } }"
        "return { body: out }"
    )
    assert value(historical(body, f"2.{PLAIN}")) == ["TypeError"] * 5


def test_a_library_may_keep_the_historical_state() -> None:
    """npm's `@microsoft/ccf-app` binds it when it is imported, which a reused interpreter does once."""
    world = World(history=Past(), node=CommittedNode()).deploy(
        one_function(
            "const state = ccf.historicalState; const kept = state.kv['records'];"
            "export function run() { return { body: [state.transactionId, kept.size, state === ccf.historicalState,"
            " state.receipt.leaf_components?.commit_evidence] } }",
            verb="get", mode="historical", interpreter_reuse={"key": "k"},
        )
    )  # fmt: skip
    for seqno in (1, PLAIN):
        headers = {"x-ms-ccf-transaction-id": str(STATES[seqno].txid)}
        body = value(world.request("GET", "/app/run", headers=headers))
        size = sum(row is not None for row in STATES[seqno].entry.writes.get("records", {}).values())
        assert body == [str(STATES[seqno].txid), size, True, STATES[seqno].entry.components.commit_evidence]


def test_other_endpoints_have_no_historical_state() -> None:
    response = script("return { body: ccf.historicalState === undefined }", mode="readonly").request("GET", "/app/run")
    assert value(response) is True


def test_a_range() -> None:
    history = Past(calls=1)
    world = script(
        "const states = ccf.historical.getStateRange(7, 3, 9, 60); if (states === null) return { statusCode: 202 };"
        "return { body: states.map((s) => [s.transactionId, s.kv['public:records'].size,"
        " s.receipt.is_signature_transaction, s.receipt === s.receipt]) }",
        history, mode="readonly",
    )  # fmt: skip
    assert world.request("GET", "/app/run").status == 202
    answer = value(world.request("GET", "/app/run"))
    assert answer == [
        [str(STATES[n].txid), len(STATES[n].entry.writes.get("public:records", {})), STATES[n].is_signature, True]
        for n in range(3, 10)
    ]
    assert history.asked == [(7, 3, 9, 60)] * 2


def test_a_range_without_expiry_and_dropping() -> None:
    """The logging sample prefetches with three arguments (node-api.md 5.8)."""
    history = Past()
    world = script(
        "const n = ccf.historical.getStateRange(4294967295, 1, 1).length;"
        "return { body: [n, ccf.historical.dropCachedStates(7), ccf.historical.dropCachedStates(8)] }",
        history, mode="readwrite",
    )  # fmt: skip
    assert value(world.request("GET", "/app/run")) == [1, True, False]
    assert history.asked == [(4294967295, 1, 1, 1800), (7,), (8,)]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("getStateRange(1, 2)", "TypeError"),
        ("getStateRange(1, 2, 3, 4, 5)", "TypeError"),
        ("getStateRange('1', 2, 3)", "TypeError"),
        ("getStateRange(1, 2.5, 3)", "TypeError"),
        ("getStateRange(1, 2, NaN)", "TypeError"),
        ("getStateRange(1, 2, 3, true)", "TypeError"),
        ("getStateRange(-1, 2, 3)", "RangeError"),
        ("getStateRange(1, -2, 3)", "RangeError"),
        ("getStateRange(1, 2, 3, -1)", "RangeError"),
        ("getStateRange(1, 3, 2)", "InternalError"),
        ("getStateRange(1, 0, 2)", "InternalError"),
        ("dropCachedStates()", "TypeError"),
        ("dropCachedStates(-1)", "RangeError"),
        ("dropCachedStates({})", "TypeError"),
    ],
)
def test_wrong_arguments(call: str, error: str) -> None:
    history = Past()
    world = script(
        f"try {{ ccf.historical.{call} }} catch (e) {{ return {{ body: [e.name] }} }}", history, mode="readonly"
    )
    assert value(world.request("GET", "/app/run")) == [error]
    assert history.asked == []


def test_a_state_ends_with_its_request() -> None:
    """A reused interpreter may keep the object; another request's states have the same numbers."""
    world = World(history=Past(), node=CommittedNode()).deploy(
        one_function(
            "let kept; export function run() { const now = ccf.historical.getStateRange(1, 3, 3)[0];"
            " const old = kept ?? now; kept = now; const out = [];"
            " for (const f of [() => old.kv['records'].size, () => old.receipt.node_id])"
            " { try { f(); out.push('read') } catch (e) { out.push(e.message) } } return { body: out } }",
            verb="get", mode="readonly", interpreter_reuse={"key": "k"},
        )
    )  # fmt: skip
    assert value(world.request("GET", "/app/run")) == ["read", "read"]
    assert value(world.request("GET", "/app/run")) == ["The request is over", "read"]


def test_where_no_history_is_kept() -> None:
    world = World().deploy(one_function("export function run() { ccf.historical.getStateRange(1, 1, 1) }", verb="get"))
    with pytest.raises(CcfError):
        world.request("GET", "/app/run")
    world = World(node=CommittedNode()).deploy(one_function("export function run() {}", verb="get", mode="historical"))
    with pytest.raises(CcfError) as caught:
        world.request("GET", "/app/run")
    assert caught.value.status == 501


def test_endorsements_reach_scripts() -> None:
    """Of an earlier service: the receipt a script shows verifies with the present certificate."""
    ledger = ServiceLedger()
    ledger.set_status("Open")
    ledger.append({"records": {b"k": b"v"}})
    ledger.sign()
    ledger.recover()
    service = present(ledger)
    entry = next(entry for entry in service.proven() if entry.txid == TxID(2, 4))
    endorsements = service.receipt(entry)["service_endorsements"]
    STATES[1000] = PastState(entry, lambda: endorsements, service.cose_endorsements(entry.txid))
    answer = json.loads(ask("/receipt/cose_endorsements?transaction_id=2.1000").body)
    assert tuple(map(b64decode, answer["endorsements"])) == service.cose_endorsements(entry.txid)
    assert refusal(f"/receipt/cose_endorsements?transaction_id=2.{PLAIN}").code == "ResourceNotFound"
    receipt = value(historical("return { body: ccf.historicalState.receipt }", "2.1000"))
    assert verify_receipt(receipt, ledger.service_cert).txid == TxID(2, 4)
    assert b64decode(receipt["signature"])
    del STATES[1000]
