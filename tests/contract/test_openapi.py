"""The documents in `openapi/` and the code say the same, in both directions (architecture.md 9)."""

import copy

import pytest

from controlplane.api.app import DOCUMENTS
from tests.support.openapi import DIRECTORY, derived, facts, kept


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_document_and_code_agree(name: str) -> None:
    document, code = facts(kept(name)), facts(derived(name))
    assert sorted(set(document) - set(code)) == [], "only in the document"
    assert sorted(set(code) - set(document)) == [], "only in the code"
    assert {key: (document[key], code[key]) for key in code if document[key] != code[key]} == {}


def test_every_document_is_compared() -> None:
    assert sorted(path.stem for path in DIRECTORY.glob("*.yaml")) == sorted(DOCUMENTS)


def test_a_difference_is_seen() -> None:
    """The positive control: each kind of edit to a document changes its facts."""
    document = kept("arm")
    before = facts(document)
    schemas = document["components"]["schemas"]

    def without(edit: object) -> dict[str, object]:
        changed = copy.deepcopy(document)
        edit(changed)  # type: ignore[operator]
        return facts(changed)

    assert without(lambda d: d["paths"].popitem()) != before
    assert without(lambda d: d["components"]["schemas"]["ManagedCcfCreate"].pop("required")) != before
    assert without(lambda d: d["components"]["schemas"]["LanguageRuntime"]["enum"].append("PY")) != before
    assert without(lambda d: d["components"]["parameters"]["Filter"].update(name="filter")) != before
    assert without(lambda d: d["components"]["schemas"]["ManagedCcfView"]["properties"].pop("appUri")) != before
    assert "LanguageRuntime" in schemas
