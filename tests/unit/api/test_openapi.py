"""The document a frontend gives of itself (node-api.md 2.1)."""

from typing import Any

from dataplane.api.openapi import document
from dataplane.apps.endpoint import Context, Endpoint, Forwarding, Mode, Response


def _nothing(context: Context) -> Response:
    return Response()


def _document(*endpoints: Endpoint) -> Any:
    return document("app", endpoints)


def test_an_operation_names_itself_its_forwarding_and_its_errors() -> None:
    found = _document(
        Endpoint("GET", "/log/raw_text/{id}", _nothing, forwarding=Forwarding.NEVER),
        Endpoint("POST", "/log/raw_text/{id}", _nothing, mode=Mode.READ_WRITE),
    )
    path = found["paths"]["/app/log/raw_text/{id}"]
    assert path["parameters"] == [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    assert path["get"]["operationId"] == "GetAppLogRawTextId"
    assert path["get"]["x-ccf-forwarding"] == {"$ref": "#/components/x-ccf-forwarding/never"}
    assert path["post"]["x-ccf-forwarding"] == {"$ref": "#/components/x-ccf-forwarding/always"}
    assert path["get"]["responses"]["default"] == {"$ref": "#/components/responses/default"}
    assert "200" in path["get"]["responses"]
    assert set(found["components"]["x-ccf-forwarding"]) == {"always", "sometimes", "never"}
    assert found["components"]["responses"]["default"]["content"]


def test_what_an_application_declares_is_kept() -> None:
    declared = {"summary": "s", "operationId": "mine", "responses": {"204": {"description": "d"}}, "x-own": [1]}
    operation = _document(Endpoint("PUT", "/x", _nothing, openapi=declared))["paths"]["/app/x"]["put"]
    assert operation["summary"] == "s"
    assert operation["operationId"] == "mine"
    assert operation["x-own"] == [1]
    assert set(operation["responses"]) == {"204", "default"}


def test_hidden_endpoints_are_left_out() -> None:
    assert _document(Endpoint("GET", "/x", _nothing, hidden=True))["paths"] == {}


def test_names_of_operations_are_unique() -> None:
    found = _document(*(Endpoint("GET", path, _nothing) for path in ("/a-b", "/a_b", "/a/b")))
    names = [path["get"]["operationId"] for path in found["paths"].values()]
    assert names == ["GetAppAB", "GetAppAB2", "GetAppAB3"]
