"""`Accept`: what is served, what is refused, what cannot be read (node-api.md 1.3)."""

import json

import pytest

from dataplane.api.negotiation import parse_accept, require_json, weight_of
from dataplane.apps.endpoint import Context, Endpoint, Mode, Response, json_response
from dataplane.errors import RpcError
from tests.support.pipeline import Client, FakeCore


@pytest.mark.parametrize(
    "header",
    ["*/*", "application/json", "Application/JSON; charset=utf-8", "application/*;q=0.1", "text/html, */*;q=0.8", ""],
)
def test_json_is_acceptable(header: str) -> None:
    require_json(header)


@pytest.mark.parametrize("header", ["text/plain", "text/*, image/png", "*/*, application/json;q=0"])
def test_json_is_not_acceptable(header: str) -> None:
    with pytest.raises(RpcError) as refused:
        require_json(header)
    assert (refused.value.status, refused.value.code) == (406, "UnsupportedContentType")


@pytest.mark.parametrize(
    "header", ["json", "application/", "/json", "a/b/c", "application/json;q=high", "*/*;q=2", "(/)"]
)
def test_what_cannot_be_read(header: str) -> None:
    with pytest.raises(RpcError) as refused:
        require_json(header)
    assert (refused.value.status, refused.value.code) == (400, "InvalidHeaderValue")


def test_the_most_exact_range_decides() -> None:
    assert weight_of("text/plain", "text/*;q=0.2, */*;q=0.9") == 0.2
    assert [str(entry.subtype) for entry in parse_accept("a/b, , c/d")] == ["b", "d"]


def test_the_pipeline_negotiates_built_in_json_only_and_drops_the_writes_of_a_refusal() -> None:
    def write(context: Context) -> Response:
        context.tx.put("records", b"key", b"value")
        return json_response({"written": True})

    core = FakeCore()
    text = Endpoint("GET", "/text", lambda context: Response(200, b"text", {"content-type": "text/plain"}))
    client = Client(core, [Endpoint("POST", "/write", write, mode=Mode.READ_WRITE), text])
    refused = client.request("POST", "/write", accept="text/html")
    assert refused is not None
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (406, "UnsupportedContentType")
    assert core.store.version == 0
    unreadable = client.request("POST", "/write", accept="nonsense")
    assert unreadable is not None
    assert unreadable.status == 400
    taken = client.request("POST", "/write", accept="text/html, application/*")
    assert taken is not None
    assert taken.status == 200
    plain = client.request("GET", "/text", accept="image/png")
    assert plain is not None
    assert plain.status == 200
