"""The OpenAPI document of a frontend, derived from its endpoint table (node-api.md 2.1)."""

import re
from collections.abc import Iterable

from dataplane.apps.endpoint import Endpoint

VERSION = "1.0.0"

_TITLES = {
    "app": ("CCF Application", "The deployed application."),
    "node": ("CCF Public Node API", "State and membership of the nodes."),
    "gov": ("CCF Governance API", "Proposals, ballots and the state they govern."),
}
_ERROR_SCHEMA = {
    "properties": {
        "error": {
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            "required": ["code", "message"],
            "type": "object",
        }
    },
    "required": ["error"],
    "type": "object",
}


def document(frontend: str, endpoints: Iterable[Endpoint]) -> dict[str, object]:
    """OpenAPI 3.0.0: one operation per visible endpoint, each with its forwarding and a `default` error answer."""
    paths: dict[str, dict[str, object]] = {}
    for endpoint in endpoints:
        if not endpoint.hidden:
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    title, description = _TITLES[frontend]
    forwarding = {f"x-ccf-forwarding-{kind}": {"value": kind} for kind in ("always", "never", "sometimes")}
    return {
        "openapi": "3.0.0",
        "info": {"title": title, "description": description, "version": VERSION},
        "servers": [{"url": f"/{frontend}"}],
        "paths": paths,
        "components": {"schemas": {"error": _ERROR_SCHEMA}, "x-ccf-forwarding": forwarding},
    }


def _operation(endpoint: Endpoint) -> dict[str, object]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{([^}]+)\}", endpoint.path)
    ]
    reference = f"#/components/x-ccf-forwarding/x-ccf-forwarding-{endpoint.effective_forwarding()}"
    operation: dict[str, object] = {
        "operationId": _operation_id(endpoint),
        "responses": {"200": {"description": "Success"}, "default": _default_answer()},
        "x-ccf-forwarding": {"$ref": reference},
    }
    if parameters:
        operation["parameters"] = parameters
    operation.update(endpoint.openapi)
    return operation


def _default_answer() -> dict[str, object]:
    schema = {"$ref": "#/components/schemas/error"}
    return {"description": "An error occurred", "content": {"application/json": {"schema": schema}}}


def _operation_id(endpoint: Endpoint) -> str:
    """Verb and path in camel case."""
    words = re.split(r"[^A-Za-z0-9]+", f"{endpoint.method.lower()} {endpoint.path}")
    return words[0] + "".join(word[:1].upper() + word[1:] for word in words[1:])
