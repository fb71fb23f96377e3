"""The order of checks of one request, and the answer of each that fails (node-api.md 1.2, 1.4)."""

import json
import re

import pytest

from dataplane.api.auth import Peer
from dataplane.api.pipeline import MAX_ATTEMPTS, TXID_HEADER, ForwardedRequest, InterfaceRules
from dataplane.apps.endpoint import Context, Endpoint, Mode, Response
from dataplane.kv.store import Conflict
from dataplane.kv.tx import Tx
from dataplane.txid import TxID
from tests.support.pipeline import Client, FakeCore


def write(context: Context) -> Response:
    context.tx.put("records", b"key", b"value")
    return Response(200, b"written")


def read(context: Context) -> Response:
    context.tx.get("records", b"key")
    return Response(200, b"read")


ENDPOINTS = [
    Endpoint("POST", "/write", write, mode=Mode.READ_WRITE),
    Endpoint("GET", "/read", read),
    Endpoint("GET", "/members/{id}", read, ("user_cert",)),
]


@pytest.fixture
def core() -> FakeCore:
    return FakeCore()


def asked(core: FakeCore, method: str, url: str, rules: InterfaceRules | None = None) -> Response:
    answer = Client(core, ENDPOINTS, rules).request(method, url)
    assert answer is not None, "the request was forwarded"
    return answer


def code(answer: Response) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["error"]["code"]


def test_back_pressure_comes_first_and_spares_the_node_frontend(core: FakeCore) -> None:
    core.overloaded, core.closed = True, ("app",)
    assert code(asked(core, "POST", "/write")) == (503, "TooManyPendingTransactions")
    assert code(asked(core, "GET", "/no/such/path")) == (503, "TooManyPendingTransactions")
    assert code(asked(core, "GET", "/gov/anything")) == (503, "TooManyPendingTransactions")
    assert code(asked(core, "GET", "/node/anything")) == (404, "ResourceNotFound")


def test_then_the_frontend_then_the_path_then_the_verb(core: FakeCore) -> None:
    core.closed = ("app",)
    assert code(asked(core, "PUT", "/no/such/path")) == (404, "FrontendNotOpen")
    core.closed = ()
    assert code(asked(core, "PUT", "/no/such/path")) == (404, "ResourceNotFound")
    refused = asked(core, "PUT", "/write")
    assert code(refused) == (405, "UnsupportedHttpVerb")
    assert refused.headers["allow"] == "OPTIONS, POST"
    assert asked(core, "OPTIONS", "/write").status == 204


def test_an_interface_takes_what_its_patterns_match_whole(core: FakeCore) -> None:
    rules = InterfaceRules("main", (re.compile("/app/read"), re.compile("/app/members/.*")))
    assert asked(core, "GET", "/read", rules).body == b"read"
    refused = asked(core, "POST", "/write", rules)
    assert (refused.status, refused.body) == (503, b"")
    assert code(asked(core, "GET", "/members/7", rules))[0] == 401, "matched by its template"


def test_a_node_that_cannot_write_says_why_and_still_reads(core: FakeCore) -> None:
    core.write_refusal = "The ledger of this node cannot be written: no space"
    refused = asked(core, "POST", "/write")
    assert code(refused) == (503, "NodeCannotHandleRequest")
    assert json.loads(refused.body)["error"]["message"] == core.write_refusal
    assert asked(core, "GET", "/read").body == b"read"
    core.node_id = "n1"
    assert code(asked(core, "POST", "/write")) == (503, "NodeCannotHandleRequest")
    assert not core.forwarded, "a node whose answers about it would be stale forwards nothing"


def test_a_session_ends_with_its_view_and_runs_nothing(core: FakeCore) -> None:
    client = Client(core, ENDPOINTS)
    client.request("GET", "/read")
    core.current_view += 1
    answer = client.request("POST", "/write")
    assert answer is not None
    assert code(answer) == (500, "SessionConsistencyLost")
    assert client.session.closing
    assert core.store.version == 0


class Contended(FakeCore):
    """A core where the first `conflicts` submissions conflict."""

    conflicts = 0

    def submit(self, tx: Tx) -> TxID:
        if self.conflicts:
            self.conflicts -= 1
            raise Conflict
        return super().submit(tx)


def test_conflicts_are_run_again_up_to_a_limit() -> None:
    core = Contended()
    core.conflicts = MAX_ATTEMPTS - 1
    client = Client(core, ENDPOINTS)
    answer = client.request("POST", "/write")
    assert answer is not None
    assert (answer.status, answer.headers[TXID_HEADER]) == (200, "2.1")
    assert client.pipeline.traffic.conflicts == MAX_ATTEMPTS - 1
    core.conflicts = MAX_ATTEMPTS
    refused = client.request("POST", "/write")
    assert refused is not None
    assert code(refused) == (503, "TransactionCommitAttemptsExceedLimit")
    assert refused.headers["retry-after"] == "3"
    assert core.store.version == 1


def test_what_was_forwarded_is_not_forwarded_again(core: FakeCore) -> None:
    pipeline = Client(core, ENDPOINTS).pipeline
    request = ForwardedRequest(1, Peer(None, None), "POST", "/write", {}, b"")
    assert pipeline.execute_forwarded(request).status == 200
    core.node_id = "n1"
    assert code(pipeline.execute_forwarded(request)) == (503, "RequestAlreadyForwarded")
    assert pipeline.traffic.executed_for_others == 2


def test_answers_are_counted_by_the_first_digit_of_their_status(core: FakeCore) -> None:
    client = Client(core, ENDPOINTS)
    for method, url in (("GET", "/read"), ("POST", "/write"), ("PUT", "/write"), ("GET", "/nothing")):
        client.request(method, url)
    core.node_id = "n1"
    core.current_view = 2
    assert client.request("POST", "/write") is None
    core.forwarded[0][1](Response(504))
    assert client.pipeline.traffic.answers == {2: 2, 4: 2, 5: 1}
    assert client.pipeline.traffic.forwarded == 1
