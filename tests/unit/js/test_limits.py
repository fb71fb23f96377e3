"""Time, heap and stack limits: they hold everywhere a script can run, and no script can step around them."""

import threading
import time

import pytest

from dataplane.js.interpreter import JsError, JsTimeout, Limits
from dataplane.js.native_stack import thread_stack_bytes
from tests.support.scripts import Script, run

BRIEF = Limits(max_execution_time_ms=60)
SMALL = Limits(max_heap_bytes=8 << 20)

ENDLESS = {
    "loop": "export function run() { while (true); }",
    "caught loop": "export function run() { try { while (true); } catch { return 1 } }",
    "finally": "export function run() { try { while (true); } finally { return 1 } }",
    "generator": "function* g() { while (true) yield 1 } export function run() { for (const x of g()); }",
    "async": "export async function run() { try { await 0; while (true); } catch { return 1 } finally { return 2 } }",
    "jobs": "export function run() { const f = () => Promise.resolve().then(f); return f() }",
    "regexp": "export function run() { return /^(a+)+$/.test('a'.repeat(40) + 'b') }",
    "top level": "while (true); export function run() {}",
    "top level await": "export function run() {} await (async () => { await 0; while (true); })()",
    "getter of the result": "export function run() { return { get x() { while (true); } } }",
    "toString of the exception": "export function run() { throw { toString() { while (true); } } }",
    "stack of the exception": "export function run() { const e = new Error('x');"
    "Object.defineProperty(e, 'stack', { get() { while (true); } }); throw e }",
    "proxy trap": "export function run() { return new Proxy({}, { ownKeys() { while (true); } }) }",
    "sort": "export function run() { [3, 1, 2].sort(() => { while (true); }) }",
    "native calls": "export function run() { while (true) ccf.strToBuf('x') }",
    "console": "export function run() { console.log({ toJSON() { while (true); } }) }",
    "forEach": "export function run() { const t = ccf.kv['t']; t.set(ccf.strToBuf('a'), ccf.strToBuf('b'));"
    "t.forEach(() => { while (true); }) }",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_work_is_stopped(name: str) -> None:
    begin = time.monotonic()
    with pytest.raises(JsTimeout) as caught:
        Script(ENDLESS[name], limits=BRIEF).call()
    assert time.monotonic() - begin < 5
    assert caught.value.reason == "Operation took too long to complete."
    assert caught.value.engine_reason == "InternalError: interrupted"


def test_a_run_that_comes_back_late_has_timed_out() -> None:
    with pytest.raises(JsTimeout):
        run("ccf.node.sleep(); return 1", natives={"node.sleep": lambda: time.sleep(0.1)}, limits=BRIEF)


MEMORY = {
    "strings": "const a = []; while (true) a.push('x'.repeat(1e5) + a.length)",
    "objects": "const a = []; while (true) a.push({})",
    "buffers": "const a = []; while (true) a.push(new ArrayBuffer(1e5))",
    "one buffer": "return new ArrayBuffer(1e9)",
    "map": "const m = new Map(); for (let i = 0; ; i++) m.set(i, i)",
    "host buffers": "const a = []; while (true) a.push(ccf.strToBuf('x'.repeat(1e4)))",
}


@pytest.mark.parametrize("name", MEMORY)
def test_memory_without_end_is_refused(name: str) -> None:
    with pytest.raises(JsError) as caught:
        run(MEMORY[name], limits=SMALL)
    assert caught.value.reason == "InternalError: out of memory"


def test_an_endless_string_is_refused() -> None:
    with pytest.raises(JsError, match="string too long"):
        run("let s = 'x'; while (true) s += s", limits=SMALL)


def test_an_out_of_memory_error_can_be_caught_and_survived() -> None:
    body = (
        "try { const a = []; while (true) a.push('x'.repeat(1e5) + a.length) } catch (error) { return error.message }"
    )
    assert run(body, limits=SMALL) == "out of memory"


@pytest.mark.parametrize("heap_bytes", [0, 1, 1000, 100_000, 150_000, 200_000, 250_000])
def test_a_heap_too_small_for_anything_is_an_error(heap_bytes: int) -> None:
    with pytest.raises(JsError) as caught:
        run("return 'x'.repeat(300000) + 1", limits=Limits(max_heap_bytes=heap_bytes))
    assert caught.value.reason == "InternalError: out of memory"


STACK = {
    "function": "const f = () => f() + 1; return f()",
    "json": "const a = []; let b = a; for (let i = 0; i < 1e5; i++) { const c = []; b.push(c); b = c } "
    "return JSON.stringify(a)",
    "getter": "const o = { get x() { return this.x } }; return o.x",
    "toString": "const o = { toString() { return String(this) } }; return String(o)",
    "native": "const t = ccf.kv['t'], k = ccf.strToBuf('a'); t.set(k, k); const f = () => t.forEach(f); return f()",
    "parser": "return eval('('.repeat(1e6))",
    "proxy": "let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); return p.x",
}


@pytest.mark.parametrize("name", STACK)
def test_deep_recursion_is_refused(name: str) -> None:
    with pytest.raises(JsError) as caught:
        run(STACK[name])
    assert caught.value.reason == "InternalError: stack overflow"


@pytest.mark.parametrize("stack_bytes", [0, 1, 1000])
def test_a_stack_too_small_for_anything_is_an_error(stack_bytes: int) -> None:
    with pytest.raises(JsError):
        run("return 1", limits=Limits(max_stack_bytes=stack_bytes))


def test_a_stack_limit_beyond_the_threads_stack_is_capped() -> None:
    with pytest.raises(JsError, match="stack overflow"):
        run("const f = () => f() + 1; return f()", limits=Limits(max_stack_bytes=1 << 40))


def test_scripts_on_a_thread_with_a_small_stack_are_capped_by_it() -> None:
    reasons: list[str] = []
    sizes: list[int] = []

    def work() -> None:
        sizes.append(thread_stack_bytes())
        try:
            run(STACK["native"], limits=Limits(max_stack_bytes=1 << 30))
        except JsError as error:
            reasons.append(error.reason)

    before = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert sizes[0] <= 1 << 20
    assert reasons == ["InternalError: stack overflow"]


def test_nested_interpreters_share_the_stack() -> None:
    limits = Limits(max_stack_bytes=1 << 40)
    deep = (
        "export function run() { const f = () => { try { return f() } catch { return ccf.node.inner() } }; return f() }"
    )

    def inner() -> str:
        try:
            Script("export function run() { const f = () => f() + 1; return f() }", limits=limits).call()
        except JsError as error:
            return error.reason
        return "no error"

    assert Script(deep, natives={"node.inner": inner}, limits=limits).call() == "InternalError: stack overflow"


def test_the_limits_of_governance_never_fall_below_the_defaults() -> None:
    assert Limits(1, 2, 3).at_least_default() == Limits()
    assert Limits(1 << 40, 1 << 40, 10**6).at_least_default() == Limits(1 << 40, 1 << 40, 10**6)


def test_threads_run_scripts_at_the_same_time() -> None:
    results: list[object] = []

    def work() -> None:
        for _ in range(20):
            results.append(run("let n = 0; for (let i = 0; i < 3e4; i++) n += i; return n"))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [449985000] * 60
