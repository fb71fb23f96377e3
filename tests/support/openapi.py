"""The OpenAPI documents kept by hand, those derived from the code, and what must be equal in both."""

from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from controlplane.api.app import DOCUMENTS

DIRECTORY = Path(__file__).parents[2] / "openapi"
# What a client can get wrong. Prose, titles and defaults are the document's own.
_SCHEMA_WORDS = (
    "type",
    "null",
    "enum",
    "format",
    "minimum",
    "maximum",
    "additionalProperties",
    "items",
    "properties",
    "required",
)
_BODYLESS = ("202", "204")


def kept(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DIRECTORY / f"{name}.yaml").read_text())
    return document


def derived(name: str) -> dict[str, Any]:
    """What FastAPI says about the routes of one document."""
    app = FastAPI(openapi_url=None, generate_unique_id_function=lambda route: route.name)
    for router in DOCUMENTS[name]:
        app.include_router(router)
    return get_openapi(title=name, version="1", routes=app.routes, separate_input_output_schemas=False)


def facts(document: dict[str, Any]) -> dict[str, Any]:
    """Flat facts such as `PUT /x body.properties.nodeCount.type` of a document: easy to compare and to read."""
    found: dict[str, Any] = {}
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            place = f"{verb.upper()} {path}"
            found[f"{place} operationId"] = operation["operationId"]
            found |= dict(_parameters(document, place, operation))
            found |= dict(_bodies(document, place, verb, operation))
    return found


def _parameters(document: dict[str, Any], place: str, operation: dict[str, Any]) -> Any:
    for reference in operation.get("parameters", []):
        parameter = _resolve(document, reference)
        where = f"{place} {parameter['in']}:{parameter['name']}"
        yield f"{where} required", parameter.get("required", False)
        yield from _schema(document, where, parameter["schema"])


def _bodies(document: dict[str, Any], place: str, verb: str, operation: dict[str, Any]) -> Any:
    if "requestBody" in operation:
        yield f"{place} body required", operation["requestBody"].get("required", False)
        yield from _content(document, f"{place} body", operation["requestBody"])
    for status, reference in operation["responses"].items():
        yield f"{place} {status}", True
        if verb != "head" and status not in _BODYLESS:
            yield from _content(document, f"{place} {status}", _resolve(document, reference))


def _content(document: dict[str, Any], place: str, body: dict[str, Any]) -> Any:
    for media_type, content in body.get("content", {}).items():
        yield from _schema(document, f"{place} {media_type.partition(';')[0]}", content["schema"])


def _schema(document: dict[str, Any], place: str, schema: dict[str, Any]) -> Any:
    schema = _plain(document, schema)
    for word in _SCHEMA_WORDS:
        if word not in schema:
            continue
        value = schema[word]
        if word == "properties":
            for name, member in value.items():
                yield f"{place}.{name}", True
                yield from _schema(document, f"{place}.{name}", member)
        elif isinstance(value, dict):
            yield from _schema(document, f"{place}[{word}]", value)
        else:
            yield f"{place} {word}", sorted(value) if isinstance(value, list) else value


def _plain(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Without references, and with "or null" in one spelling of the several there are."""
    schema = _resolve(document, schema)
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        rest = {word: value for word, value in schema.items() if word != "anyOf"}
        return rest | _plain(document, options[0]) | {"null": True}
    if isinstance(schema.get("type"), list):
        return schema | {"type": next(kind for kind in schema["type"] if kind != "null"), "null": True}
    return schema


def _resolve(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        target: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        value = target
    return value


def operation_ids(document: dict[str, Any]) -> set[str]:
    operations = chain.from_iterable(path.values() for path in document["paths"].values())
    return {operation["operationId"] for operation in operations}
