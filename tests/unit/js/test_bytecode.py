"""Each source is compiled once; what is kept is bounded, and kinds are never mixed up."""

import pytest

from dataplane.js.bytecode import CompiledCode, Kind
from dataplane.js.ccf.prelude import prelude_source
from dataplane.js.host import Access
from dataplane.js.interpreter import Interpreter, JsError
from dataplane.js.quickjs import Context, Pending
from tests.support.scripts import Script


@pytest.fixture
def context() -> Context:
    context = Interpreter(Access.APP_READ_ONLY).context
    context.enter(1 << 26, 1 << 20, 5000)
    return context


def _load(code: CompiledCode, context: Context, name: str, source: bytes) -> None:
    code.load(context, Kind.MODULE, name, source)


def test_a_source_is_kept_by_name_and_text(context: Context) -> None:
    code = CompiledCode()
    for name, source in [("a", b"1"), ("a", b"1"), ("b", b"1"), ("a", b"2")]:
        _load(code, context, name, source)
    assert len(code) == 3
    context.leave()


def test_what_does_not_compile_is_not_kept(context: Context) -> None:
    code = CompiledCode()
    with pytest.raises(Pending):
        _load(code, context, "a", b"}")
    assert len(code) == 0
    context.leave()


def test_the_oldest_go_first(context: Context) -> None:
    code = CompiledCode(max_bytes=20_000)
    for number in range(50):
        _load(code, context, "m", b"const x = %d; " % number + b"f(x);" * 200)
    assert 0 < len(code) < 20
    context.leave()


def test_a_module_that_is_the_prelude_by_name_and_text_stays_a_module() -> None:
    text = prelude_source().decode()
    with pytest.raises(JsError, match="Failed to find export"):
        Script({"main.js": "export { run } from './<host>'", "<host>": text + "\nexport const run = 1"}).call()
    with pytest.raises(JsError, match="Could not find export"):
        Script({"main.js": "export { run } from './<host>'", "<host>": text}).call()
