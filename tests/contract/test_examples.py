"""Every example in `openapi/examples/` is a request with its answer; every operation has one (architecture.md 9)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.api.app import DOCUMENTS
from tests.support.arm_world import SUBSCRIPTION, TENANT, World, member_certificate, world
from tests.support.openapi import DIRECTORY, kept, operation_ids

ANY = "$ANY"


def examples(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((DIRECTORY / "examples" / f"{name}.yaml").read_text())
    return found


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_examples_answer_as_shown(name: str, tmp_path: Path) -> None:
    with world(tmp_path) as here:
        if name == "instance":
            here.make_instance()
        known = placeholders(here)
        for number, example in enumerate(examples(name)):
            where = f"example {number} ({example['operationId']})"
            replay(here, known, example, where)


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_every_operation_has_an_example(name: str) -> None:
    assert {example["operationId"] for example in examples(name)} == operation_ids(kept(name))


def test_a_wrong_answer_is_seen() -> None:
    """The positive control."""
    shown = {"a": [{"b": 1, "c": ANY}]}
    assert not differences(shown, {"a": [{"b": 1, "c": 2, "d": 3}]}, "body")
    assert differences(shown, {"a": [{"b": 2, "c": 2}]}, "body")
    assert differences(shown, {"a": [{"b": 1}]}, "body")
    assert differences(shown, {"a": []}, "body")
    assert differences({"b": 1}, {"b": True}, "body")


def placeholders(here: World) -> dict[str, str]:
    credentials = json.loads(here.settings.credentials_file.read_text())
    return {
        "$SUBSCRIPTION": SUBSCRIPTION,
        "$TENANT": TENANT,
        "$CERTIFICATE": member_certificate("alice"),
        "$CLIENT_ID": credentials["client_id"],
        "$CLIENT_SECRET": credentials["client_secret"],
        "$OPERATION": "no operation yet",
    }


def replay(here: World, known: dict[str, str], example: Mapping[str, Any], where: str) -> None:
    if "settle" in example:
        here.settle(example["settle"])
    request, shown = fill(example["request"], known), fill(example["answer"], known)
    options = {"data": request["form"]} if "form" in request else {}
    answer = here.call(
        request["method"],
        request["path"],
        request.get("body"),
        request.get("api-version"),
        params=request.get("query", {}),
        **options,
    )
    assert answer.status_code == shown["status"], f"{where}: {answer.text}"
    assert [name for name in shown.get("headers", []) if name not in answer.headers] == [], where
    if "body" in shown:
        assert differences(shown["body"], answer.json(), f"{where} body") == []
    if "azure-asyncoperation" in answer.headers:
        known["$OPERATION"] = answer.headers["azure-asyncoperation"].partition("?")[0].rpartition("/")[2]


def fill(value: Any, known: Mapping[str, str]) -> Any:
    """Put the known values in place of their names."""
    if isinstance(value, dict):
        return {name: fill(member, known) for name, member in value.items()}
    if isinstance(value, list):
        return [fill(member, known) for member in value]
    if isinstance(value, str):
        for name, text in known.items():
            value = value.replace(name, text)
    return value


def differences(shown: Any, seen: Any, place: str) -> list[str]:
    """Where an answer is not what is shown; it may have more members than that."""
    if shown == ANY:
        return []
    if isinstance(shown, dict) and isinstance(seen, dict):
        missing = [f"{place}.{name} is missing" for name in shown if name not in seen]
        both = [name for name in shown if name in seen]
        return missing + [text for name in both for text in differences(shown[name], seen[name], f"{place}.{name}")]
    if isinstance(shown, list) and isinstance(seen, list) and len(shown) == len(seen):
        pairs = enumerate(zip(shown, seen, strict=True))
        return [text for index, (left, right) in pairs for text in differences(left, right, f"{place}[{index}]")]
    same = type(shown) is type(seen) and shown == seen
    return [] if same else [f"{place} is {seen!r}, not {shown!r}"]
