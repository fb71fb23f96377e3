"""The OpenAPI document of a frontend, derived from its endpoint table (node-api.md 2.1)."""

import json
import re
from collections.abc import Iterable, Mapping

from dataplane.api import node_schemas
from dataplane.apps.endpoint import Endpoint

VERSION = "1.0.0"

_TITLES = {
    "app": ("CCF Application", "The deployed application."),
    "gov": ("CCF Governance API", "Proposals, ballots and the state they govern."),
}
_ERROR_SCHEMA = {
    "properties": {
        "error": {
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            "type": "object",
        }
    },
    "type": "object",
}
_DEFAULT_ANSWER = {
    "description": "An error occurred",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/CCFError"}}},
}
_FORWARDING = {
    "always": "A backup hands the request to the primary.",
    "sometimes": "A backup hands the request to the primary where the session has sent one there before.",
    "never": "The node that receives the request executes it, so a write on a backup fails.",
}
_SCHEMA_NAME = re.compile(r'"#/components/schemas/([^"]+)"')
_VERBS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


def document(frontend: str, endpoints: Iterable[Endpoint]) -> dict[str, object]:
    """OpenAPI 3.0.0: one operation per visible endpoint, each with its forwarding and a `default` error answer."""
    info, operations = _info(frontend), _paths(frontend, endpoints)
    forwarding = {kind: {"value": kind, "description": text} for kind, text in _FORWARDING.items()}
    return {
        "openapi": "3.0.0",
        "info": info,
        "servers": [],
        "paths": operations,
        "components": {
            "responses": {"default": _DEFAULT_ANSWER},
            "schemas": {"CCFError": _ERROR_SCHEMA, **_referred(operations)},
            "x-ccf-forwarding": forwarding,
        },
    }


def _info(frontend: str) -> Mapping[str, object]:
    if frontend == "node":
        return node_schemas.INFO
    title, description = _TITLES[frontend]
    return {"title": title, "description": description, "version": VERSION}


def _referred(operations: object) -> dict[str, object]:
    """The schemas of ours that the operations refer to, and those these refer to; an application names its own."""
    found: dict[str, object] = {}
    waiting: list[object] = [operations]
    while waiting:
        for name in _SCHEMA_NAME.findall(json.dumps(waiting.pop())):
            if name not in found and name in node_schemas.SCHEMAS:
                found[name] = node_schemas.SCHEMAS[name]
                waiting.append(found[name])
    return dict(sorted(found.items()))


def _paths(frontend: str, endpoints: Iterable[Endpoint]) -> dict[str, dict[str, object]]:
    paths: dict[str, dict[str, object]] = {}
    names: set[str] = set()
    for endpoint in endpoints:
        verb = endpoint.method.lower()
        if endpoint.hidden or verb not in _VERBS:
            continue
        path = paths.setdefault(f"/{frontend}{endpoint.path}", {})
        if "{" in endpoint.path:
            path["parameters"] = _path_parameters(endpoint.path)
        operation = _operation(frontend, endpoint)
        operation["operationId"] = _unused(str(operation["operationId"]), names)
        path[verb] = operation
    return paths


def _path_parameters(path: str) -> list[Mapping[str, object]]:
    names = dict.fromkeys(re.findall(r"\{([^}]+)\}", path))
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _operation(frontend: str, endpoint: Endpoint) -> dict[str, object]:
    """What holds for every endpoint; what the endpoint itself declares wins, member by member."""
    reference = f"#/components/x-ccf-forwarding/{endpoint.effective_forwarding()}"
    operation = {
        "operationId": _operation_id(endpoint.method, f"/{frontend}{endpoint.path}"),
        "x-ccf-forwarding": {"$ref": reference},
        **endpoint.openapi,
    }
    declared = operation.get("responses")
    answers = declared if isinstance(declared, dict) and declared else {"200": {"description": "Success"}}
    operation["responses"] = {"default": {"$ref": "#/components/responses/default"}, **answers}
    return operation


def _operation_id(method: str, path: str) -> str:
    """Verb and path in camel case: `GetAppLogAll`."""
    words = re.split(r"[^A-Za-z0-9]+", f"{method.lower()} {path}")
    return "".join(word[:1].upper() + word[1:] for word in words)


def _unused(name: str, names: set[str]) -> str:
    """`name`, or with a number where another operation has it: they must be unique."""
    number, unique = 1, name
    while unique in names:
        number += 1
        unique = f"{name}{number}"
    names.add(unique)
    return unique
