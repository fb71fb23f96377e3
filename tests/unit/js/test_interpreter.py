"""Calling functions: values both ways, modules, promises, errors in the contract's words."""

import threading

import pytest

from dataplane.errors import InvalidInput
from dataplane.js.host import Access, Invocation
from dataplane.js.interpreter import (
    Interpreter,
    InterpreterCache,
    JsCompileError,
    JsError,
    JsExportNotFound,
    JsModuleNotFound,
    Limits,
    compile_modules,
    exported_arity,
)
from tests.support.scripts import Script, run


@pytest.mark.parametrize(
    "value",
    [1, -1, 2**31, -(2**40), 0.5, True, False, "", "é\x00😀", b"", b"\x00\xff", [], [1, ["x", b"y"]], {"a": {"b": 1}}],
)
def test_values_pass_both_ways(value: object) -> None:
    result = run("return args[0]", [value])
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("expression", ["undefined", "null", "() => 1"])
def test_values_without_counterpart_become_none(expression: str) -> None:
    assert run(f"return {expression}") is None


def test_none_is_undefined_as_argument_and_null_inside() -> None:
    assert run("return [args[0] === undefined, args[1][0] === null]", [None, [None]]) == [True, True]


def test_typed_arrays_give_their_own_range() -> None:
    assert run("return new Uint8Array([1, 2, 3, 4]).subarray(1, 3)") == b"\x02\x03"


def test_an_object_with_a_proto_key_stays_plain() -> None:
    assert run("return Object.keys(args[0])", [{"__proto__": 1}]) == ["__proto__"]


def test_large_integers_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        run("return 1", [2**60])


def test_deep_and_cyclic_results_are_refused() -> None:
    with pytest.raises(JsError, match="nests too deep"):
        run("const a = []; a.push(a); return a")


def test_symbols_are_refused() -> None:
    with pytest.raises(JsError, match="symbol"):
        run("return Symbol('x')")


def test_an_exception_has_reason_and_trace() -> None:
    with pytest.raises(JsError) as caught:
        run("throw new Error('why')")
    assert caught.value.reason == "Error: why"
    assert caught.value.trace is not None
    assert "main.js" in caught.value.trace


@pytest.mark.parametrize(
    ("thrown", "reason"),
    [
        ("'text'", "text"),
        ("null", "null"),
        ("undefined", "undefined"),
        ("7", "7"),
        ("Symbol()", "the thrown value has no text"),
        ("{ toString() { throw 1 } }", "the thrown value has no text"),
        ("{ toString() { return {} } }", "the thrown value has no text"),
        ("Object.create(null)", "the thrown value has no text"),
        ("new (class extends Error { get stack() { throw 1 } })('x')", "Error: x"),
    ],
)
def test_anything_may_be_thrown(thrown: str, reason: str) -> None:
    with pytest.raises(JsError) as caught:
        run(f"throw {thrown}")
    assert caught.value.reason == reason


def test_getters_of_the_result_may_throw() -> None:
    with pytest.raises(JsError, match="Error: getter"):
        run("return { get x() { throw new Error('getter') } }")


def test_promises_are_settled() -> None:
    assert Script("export async function run() { return (await Promise.resolve(2)) + 1 }").call() == 3


def test_a_rejection_is_an_exception() -> None:
    with pytest.raises(JsError, match="TypeError: no"):
        Script("export async function run() { await null; throw new TypeError('no') }").call()


def test_a_promise_that_never_settles_is_an_error() -> None:
    with pytest.raises(JsError, match="never settled"):
        run("return new Promise(() => {})")


def test_a_rejected_promise_nobody_waits_for_is_dropped() -> None:
    assert run("Promise.reject(new Error('lost')); return 1") == 1


def test_modules_are_found_relative_to_their_importer() -> None:
    modules = {
        "main.js": "import { g } from './a/../a/b.js'; import * as b from './a/b.js';"
        "export function run() { return [g(), b.g === g] }",
        "a/b.js": "import { x } from '../c.js'; import '/c.js'; export function g() { return x }",
        "c.js": "globalThis.count = (globalThis.count ?? 0) + 1; export const x = globalThis.count",
    }
    assert Script(modules).call() == [1, True]


def test_node_modules_are_plain_directories() -> None:
    modules = {
        "main.js": "import { x } from './node_modules/@scope/p/i.js'; export function run() { return x }",
        "node_modules/@scope/p/i.js": "export * from './x.js'",
        "node_modules/@scope/p/x.js": "export const x = 1",
    }
    assert Script(modules).call() == 1


def test_cyclic_imports_work() -> None:
    modules = {
        "main.js": "import { b } from './b.js'; export const a = () => 1; export function run() { return b() }",
        "b.js": "import { a } from './main.js'; export const b = () => a() + 1",
    }
    assert Script(modules).call() == 2


def test_dynamic_imports_load_and_may_fail() -> None:
    source = (
        "export async function run() { const m = await import('./m.js');"
        "try { await import('./none.js') } catch (error) { return [m.x, String(error)] } }"
    )
    result = Script({"main.js": source, "m.js": "export const x = 5"}).call()
    assert result == [5, "ReferenceError: Failed to find module 'none.js'"]


@pytest.mark.parametrize(
    ("modules", "kind", "message"),
    [
        ({}, JsModuleNotFound, "Failed to find module 'main.js'"),
        ({"main.js": "import './x.js'"}, JsModuleNotFound, "Failed to find module 'x.js'"),
        ({"main.js": "import '../x.js'"}, JsCompileError, "lies outside"),
        ({"main.js": "import './b.js'", "b.js": "import './x.js'"}, JsModuleNotFound, "Failed to find module 'x.js'"),
        ({"main.js": "function ("}, JsCompileError, "Failed to compile module 'main.js': SyntaxError"),
        ({"main.js": "import './b.js'", "b.js": "}"}, JsCompileError, "Failed to compile module 'b.js': SyntaxError"),
        ({"main.js": "import { y } from './b.js'", "b.js": ""}, JsCompileError, "Could not find export 'y'"),
        ({"main.js": "export const other = 1"}, JsExportNotFound, "Failed to find export 'run' in module 'main.js'"),
        ({"main.js": "export const run = 1"}, JsExportNotFound, "Failed to find export 'run'"),
    ],
)
def test_a_module_that_cannot_be_used(modules: dict[str, str], kind: type[JsError], message: str) -> None:
    with pytest.raises(kind, match=message.replace("(", r"\(")):
        Script(modules).call()


def test_the_same_failure_repeats_when_bytecode_is_known() -> None:
    modules = {"main.js": "import './gone.js'; export function run() {}", "gone.js": ""}
    Script(modules).call()
    del modules["gone.js"]
    for _ in range(2):
        with pytest.raises(JsModuleNotFound, match=r"gone\.js"):
            Script(modules).call()


def test_a_throw_at_top_level_is_an_exception_of_the_script() -> None:
    with pytest.raises(JsError, match="Error: top") as caught:
        Script("throw new Error('top'); export function run() {}").call()
    assert type(caught.value) is JsError


def test_globals_are_there_before_modules_run() -> None:
    source = "const { setApplyWrites } = ccf.rpc; const t = ccf.kv['t']; export function run() { return typeof t.get }"
    assert Script(source).call() == "function"


def test_every_interpreter_is_new() -> None:
    script = Script(
        "export function run() { const seen = [globalThis.x, Array.prototype.x]; globalThis.x = 1;"
        "Array.prototype.x = 2; ccf.strToBuf = null; return seen }"
    )
    assert script.call() == [None, None]
    assert script.call() == [None, None]


def test_random_numbers_differ_between_interpreters() -> None:
    draw = "return Array.from({ length: 200 }, Math.random)"
    first, second = run(draw), run(draw)
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert len({*first, *second}) == 400
    assert all(0 <= number < 1 for number in first)


def test_natives_get_values_and_answer_them() -> None:
    natives = {"node.add": lambda *numbers: sum(numbers), "node.echo": lambda value: value}
    assert run("return ccf.node.add(1, 2, 3)", natives=natives) == 6
    assert run("return ccf.node.echo({ a: new Uint8Array([1]) })", natives=natives) == {"a": b"\x01"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidInput("bad"), "Error: bad"),
        (ValueError("bad"), "Error: bad"),
        (TypeError("bad"), "TypeError: ccf.node.fail: bad"),
    ],
)
def test_expected_failures_of_natives_are_exceptions(error: Exception, reason: str) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(JsError) as caught:
        run("return ccf.node.fail()", natives={"node.fail": fail})
    assert caught.value.reason == reason
    assert run("try { ccf.node.fail() } catch { return 1 }", natives={"node.fail": fail}) == 1


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()])
def test_unexpected_failures_of_natives_pass_through(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        run("try { ccf.node.fail() } catch { return 1 } finally { while (true); }", natives={"node.fail": fail})


def test_a_native_that_is_not_served_says_so() -> None:
    with pytest.raises(JsError, match=r"ccf\.historical is not served"):
        run("return ccf.historical.getStateRange(1, 1, 2, 3)")


def test_a_native_may_run_another_script() -> None:
    inner = Script("export function run(n) { return n + 1 }")
    assert run("return ccf.node.inner(1) + 1", natives={"node.inner": lambda n: inner.call(args=[n])}) == 3


def test_arity_and_bytecode_of_modules() -> None:
    modules = {"m.js": "import './n.js'; export function f(a, b) {}", "n.js": ""}
    assert exported_arity(modules.get, "m.js", "f", Limits()) == 2
    compiled = compile_modules(modules)
    assert sorted(compiled) == ["m.js", "n.js"]
    assert all(compiled.values())
    with pytest.raises(JsCompileError):
        compile_modules({"m.js": "}"})
    with pytest.raises(JsModuleNotFound):
        compile_modules({"m.js": "import './gone.js'"})


def _reuse(cache: InterpreterCache, source: str, max_kept: int = 2, key: str = "k") -> object:
    interpreter = cache.take(key, Access.APP_READ_WRITE)
    invocation = Invocation({"m.js": source}.get, None, {}, lambda level, text: None, bytes)
    try:
        return interpreter.call("m.js", "run", [], invocation, Limits(max_execution_time_ms=200))
    finally:
        cache.give_back(key, Access.APP_READ_WRITE, interpreter, max_kept)


COUNTER = "let n = 0; export function run() { return ++n }"


def test_kept_interpreters_keep_their_state() -> None:
    cache = InterpreterCache()
    assert [_reuse(cache, COUNTER) for _ in range(3)] == [1, 2, 3]
    cache.clear()
    assert _reuse(cache, COUNTER) == 1
    cache.clear()


def test_the_least_recently_used_interpreter_goes_first() -> None:
    cache = InterpreterCache()
    for key in "aba":
        _reuse(cache, COUNTER, key=key)
    _reuse(cache, COUNTER, key="c")
    assert _reuse(cache, COUNTER, key="a") == 3
    assert _reuse(cache, COUNTER, key="b") == 1
    cache.clear()


@pytest.mark.parametrize("max_kept", [0, -1])
def test_no_interpreter_is_kept_where_none_may_be(max_kept: int) -> None:
    cache = InterpreterCache()
    assert [_reuse(cache, COUNTER, max_kept=max_kept) for _ in range(2)] == [1, 1]


@pytest.mark.parametrize(
    "fatal",
    ["while (true);", "const f = () => f() + 1; f()", "Promise.resolve().then(() => 1); throw new Error('jobs wait')"],
)
def test_an_interpreter_that_broke_is_not_kept(fatal: str) -> None:
    cache = InterpreterCache()
    source = f"let n = 0; export function run() {{ if (++n === 2) {{ {fatal} }} return n }}"
    assert _reuse(cache, source) == 1
    with pytest.raises(JsError):
        _reuse(cache, source)
    assert _reuse(cache, source) == 1
    cache.clear()


def test_a_module_that_failed_at_top_level_is_tried_again_in_a_new_interpreter() -> None:
    cache = InterpreterCache()
    for _ in range(3):
        with pytest.raises(JsError, match="Error: top"):
            _reuse(cache, "throw new Error('top'); export function run() {}")
    cache.clear()


def test_functions_of_a_module_share_one_instance() -> None:
    interpreter = Interpreter(Access.APP_READ_WRITE)
    source = {
        "m.js": "import './n.js'; let n = 0; export const a = () => ++n; export const b = () => ++n;",
        "n.js": "globalThis.loaded = (globalThis.loaded ?? 0) + 1; export const c = () => globalThis.loaded;",
    }
    found = []
    for module, function in [("m.js", "a"), ("m.js", "b"), ("n.js", "c"), ("/m.js", "a"), ("m.js", "a")] * 3:
        invocation = Invocation(source.get, None, {}, lambda level, text: None, bytes)
        found.append(interpreter.call(module, function, [], invocation, Limits()))
    assert found[:5] == [1, 2, 1, 3, 4]
    interpreter.close()


def test_an_ordinary_exception_keeps_the_interpreter() -> None:
    cache = InterpreterCache()
    source = "let n = 0; export function run() { if (++n === 2) throw new Error(); return n }"
    assert _reuse(cache, source) == 1
    with pytest.raises(JsError):
        _reuse(cache, source)
    assert _reuse(cache, source) == 3
    cache.clear()


def test_an_interpreter_may_move_between_threads() -> None:
    interpreter = Interpreter(Access.APP_READ_WRITE)
    source = {"m.js": "const f = (n) => (n ? f(n - 1) + 1 : 0); export const run = (n) => f(n)"}.get
    results: list[object] = []

    def work() -> None:
        invocation = Invocation(source, None, {}, lambda level, text: None, bytes)
        results.append(interpreter.call("m.js", "run", [100], invocation, Limits()))

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    work()
    assert results == [100] * 4
    interpreter.close()
