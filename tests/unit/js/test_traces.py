"""Traces in the contract's form, and source maps of every kind, broken ones above all (node-api.md 5.4)."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.js.interpreter import JsError
from dataplane.js.source_map import decode_vlq, parse_source_map
from dataplane.js.traces import readable_trace
from tests.support.scripts import Script

BUILT = "export function run() {\n  fail();\n}\nfunction fail() { throw new Error('x'); }\n"
MAPPINGS = "AAEA;EACE;A;CAKF"
"""Built line 1 comes from line 3, line 2 from line 4, line 3 from nowhere, line 4 from line 9 (all counted from 1)."""
MAP = {"version": 3, "sources": ["../ts/app.ts"], "names": [], "mappings": MAPPINGS}


def _trace(modules: dict[str, str]) -> str:
    with pytest.raises(JsError) as caught:
        Script(modules).call()
    assert caught.value.trace is not None
    return caught.value.trace


def _inline(value: object, *, plain: bool = False) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if plain:
        return f"{BUILT}//# sourceMappingURL=data:application/json,{quote(text)}\n"
    encoded = base64.b64encode(text.encode()).decode()
    return f"{BUILT}//# sourceMappingURL=data:application/json;charset=utf-8;base64,{encoded}"


MAPPED = "    at fail (/ts/app.ts:9)\n    at run (/ts/app.ts:4)\n"
UNMAPPED = "    at fail (/main.js:4)\n    at run (/main.js:2)\n"


def test_a_trace_names_modules_and_lines() -> None:
    modules = {
        "main.js": "import { f } from './lib/b.js';\nexport const run = () =>\n  [1].map(() => f());",
        "lib/b.js": "export function f() {\n  null.x;\n}",
    }
    assert _trace(modules) == (
        "    at f (/lib/b.js:2)\n    at <anonymous> (/main.js:3)\n    at map (native)\n    at run (/main.js:3)\n"
    )


def test_the_hosts_own_functions_are_left_out() -> None:
    assert _trace({"main.js": "export const run = () => ccf.kv['t'].get();"}) == "    at run (/main.js:1)\n"
    assert _trace({"main.js": "export const run = () => ccf.crypto.sign();"}) == "    at run (/main.js:1)\n"


def test_places_outside_modules_stay_as_they_are() -> None:
    assert _trace({"main.js": "export const run = () => JSON.parse('{');"}).startswith("    at <input>:1\n")


def test_an_error_without_a_trace_has_none() -> None:
    with pytest.raises(JsError) as caught:
        Script("export function run() { throw 1 }").call()
    assert caught.value.trace is None


@pytest.mark.parametrize("plain", [False, True])
def test_an_inline_map_names_the_file_that_was_written(plain: bool) -> None:
    assert _trace({"main.js": _inline(MAP, plain=plain)}) == MAPPED


def test_a_map_beside_the_module_names_the_file_that_was_written() -> None:
    modules = {
        "lib/built.js": f"{BUILT}//# sourceMappingURL=built.js.map\n",
        "lib/built.js.map": json.dumps({**MAP, "sourceRoot": "../../x/"}),
        "main.js": "export { run } from './lib/built.js';",
    }
    assert _trace(modules) == "    at fail (/ts/app.ts:9)\n    at run (/ts/app.ts:4)\n"
    del modules["lib/built.js.map"]
    assert _trace(modules) == "    at fail (/lib/built.js:4)\n    at run (/lib/built.js:2)\n"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("webpack://app/./src/a.ts", "webpack://app/./src/a.ts"),
        ("./a.ts", "/a.ts"),
        ("../../../a.ts", "/a.ts"),
        ("/src/a.ts", "/src/a.ts"),
        (None, "<unknown>"),
    ],
)
def test_names_of_sources(source: str | None, shown: str) -> None:
    assert f"at fail ({shown}:9)" in _trace({"main.js": _inline({**MAP, "sources": [source]})})


@pytest.mark.parametrize(
    "value",
    [
        "",
        "{",
        "[]",
        "null",
        {},
        {**MAP, "version": 2},
        {**MAP, "sources": "x"},
        {**MAP, "sources": [1]},
        {**MAP, "sources": []},
        {**MAP, "sourceRoot": 1},
        {**MAP, "mappings": None},
        {**MAP, "mappings": "!"},
        {**MAP, "mappings": "g"},
        {**MAP, "mappings": "AA"},
        {**MAP, "mappings": "AAAAAA"},
        {**MAP, "mappings": "AADA;AADA"},
        {**MAP, "mappings": "D"},
        {**MAP, "mappings": "EAAA,DAAA"},
        {**MAP, "mappings": "ggggggggggggggggB"},
        {**MAP, "mappings": "A/////HAA"},
        {"version": 3, "sections": []},
        "[" * 100_000,
    ],
)
def test_a_malformed_map_is_no_map(value: object) -> None:
    assert _trace({"main.js": _inline(value)}) == UNMAPPED


@pytest.mark.parametrize(
    "comment",
    [
        "//# sourceMappingURL=",
        "//# sourceMappingURL=data:",
        "//# sourceMappingURL=data:application/json;base64,***",
        "//# sourceMappingURL=data:application/json;base64,AAAA",
        "//# sourceMappingURL=../../../etc/passwd",
        "//# sourceMappingURL=https://example.com/map",
        "//# sourceMappingURL=main.js",
    ],
)
def test_a_reference_to_no_map(comment: str) -> None:
    assert _trace({"main.js": f"{BUILT}{comment}\n"}) == UNMAPPED


def test_the_last_reference_counts() -> None:
    text = _inline(MAP).replace("export", "const s = '//# sourceMappingURL=x.map'; export", 1)
    assert _trace({"main.js": text}) == MAPPED


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("", []), ("A", [0]), ("C", [1]), ("D", [-1]), ("gB", [16]), ("hB", [-16]), ("AAgBC", [0, 0, 16, 1])],
)
def test_numbers_in_base_64(text: str, numbers: list[int]) -> None:
    assert decode_vlq(text) == numbers


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    parse_source_map(data)
    parse_source_map(json.dumps({**MAP, "mappings": data.decode("latin-1")}).encode())


@given(st.text(max_size=200))
def test_no_trace_breaks_the_reader(trace: str) -> None:
    readable_trace(trace, {"main.js": _inline(MAP)}.get)
    readable_trace(f"    at f (main.js:{trace})", {"main.js": _inline(MAP)}.get)
