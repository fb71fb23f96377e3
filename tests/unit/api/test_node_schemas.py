"""`/node/api` against the original's published document: everything but the wording (node-api.md 10, "Schema test")."""

import json
from pathlib import Path
from typing import Any, cast

from dataplane.api import common, node, node_files
from dataplane.api.jwt_refresh import jwt_refresh_endpoints
from dataplane.api.node_schemas import SCHEMAS
from dataplane.apps.endpoint import Context, Request, Response
from tests.support.pipeline import FakeCore

PUBLISHED = Path(__file__).parents[2] / "data" / "ccf" / "node_openapi.json"
_UNUSED = cast(Any, None)


def ours() -> Any:
    declared = [
        *node.endpoints(_UNUSED, lambda context: Response()),
        *node_files.endpoints(_UNUSED, _UNUSED, _UNUSED),
        *jwt_refresh_endpoints(dict),
    ]
    core = FakeCore()
    (api,) = (e for e in common.endpoints("node", declared, _UNUSED) if (e.method, e.path) == ("GET", "/api"))
    request = Request("GET", "/node/api", "/node/api", "", {}, b"")
    return json.loads(api.run(Context(core.begin(), request, None, core)).body)


def without_wording(document: Any) -> Any:
    if isinstance(document, dict):
        return {name: without_wording(value) for name, value in document.items() if not is_wording(name, value)}
    if isinstance(document, list):
        return [without_wording(item) for item in document]
    return document


def is_wording(name: str, value: object) -> bool:
    return name in ("description", "summary") and isinstance(value, str)


def test_the_document_is_the_published_one_but_for_its_wording() -> None:
    published, found = json.loads(PUBLISHED.read_text()), ours()
    assert found["paths"].keys() == published["paths"].keys()
    assert found["components"]["schemas"].keys() == published["components"]["schemas"].keys()
    assert without_wording(found) == without_wording(published)


def test_every_schema_is_used() -> None:
    assert SCHEMAS.keys() <= ours()["components"]["schemas"].keys()
