"""An interpreter put back in its memory is as good as a new one."""

import time
from collections.abc import Iterator

import pytest

from dataplane.js.host import Access, Invocation
from dataplane.js.images import Images
from dataplane.js.interpreter import DEFAULT_LIMITS, Interpreter, JsError, JsLoadError, JsTimeout, Limits
from dataplane.js.memory import Memory, is_compiled
from dataplane.kv.store import Store
from dataplane.kv.tx import Tx
from tests.support.fresh import need_images

REQUEST = '["GET", "/", "", "/", null, {}]'
RANDOM = b"\x07" * 4096


@pytest.fixture
def images() -> Iterator[Images]:
    need_images()
    made = Images()
    yield made
    made.clear()


def respond(
    images: Images,
    text: str,
    *,
    limits: Limits = DEFAULT_LIMITS,
    tx: Tx | None = None,
    name: str = "app.js",
    **more: str,
) -> str:
    """What `run` of the module `text` answers; every call must be served by one and the same interpreter."""
    modules = {name: text, **more}
    logged: list[tuple[str, str]] = []
    invocation = Invocation(
        modules.get, tx or Store().begin(), {"node.echo": lambda value: value}, lambda *line: logged.append(line),
        lambda count: RANDOM[:count],
    )  # fmt: skip
    known = images._kept.get(Access.APP_READ_WRITE)
    interpreter = images.take(Access.APP_READ_WRITE, limits.max_heap_bytes)
    assert known is None or interpreter is known
    try:
        return interpreter.respond(name, "run", REQUEST, invocation, limits)[1].decode()
    finally:
        images.give_back(Access.APP_READ_WRITE, interpreter)


@pytest.mark.parametrize(
    "body",
    [
        "const before = globalThis.left; globalThis.left = 1; return { body: String(before) };",
        "const before = state.n; state.n = 1; return { body: String(before) };",
        "const before = Array.prototype.left; Array.prototype.left = 1; return { body: String(before) };",
        "const before = ccf.left; ccf.left = 1; return { body: String(before) };",
        "const before = ccf.kv['t'].left; ccf.kv['t'].left = 1; return { body: String(before) };",
        "const before = JSON.parse === gone ? 'gone' : undefined; JSON.parse = gone; return { body: String(before) };",
    ],
)
def test_nothing_is_left_behind(images: Images, body: str) -> None:
    text = f"const state = {{}}; const gone = () => 0; export function run(request) {{ {body} }}"
    assert [respond(images, text) for _ in range(3)] == ["undefined"] * 3


def test_modules_are_evaluated_in_each_call(images: Images) -> None:
    text = "import { n } from './other.js'; export const run = () => ({ body: `${n} ${ccf.kv['t'].size}` });"
    other = "ccf.kv['t'].set(ccf.strToBuf(String(ccf.kv['t'].size)), ccf.strToBuf('x')); export let n = 1;"
    store = Store()
    for _ in range(3):
        assert respond(images, text, tx=store.begin(), **{"other.js": other}) == "1 1"


def test_table_handles_name_the_table_of_their_call(images: Images) -> None:
    for names in (("a", "b"), ("b", "a"), ("c", "a", "b")):
        tx = Store().begin()
        body = "".join(f"ccf.kv['{name}'].set(ccf.strToBuf('k'), ccf.strToBuf('{name}'));" for name in names)
        # One module for each: the image grows with what it has not seen.
        assert (
            respond(images, f"export function run() {{ {body} return {{ body: '' }} }}", name=f"{names[0]}.js", tx=tx)
            == ""
        )
        assert tx.writes == {name: {b"k": name.encode()} for name in names}


def test_jobs_and_finalisers_of_one_call_do_not_run_in_another(images: Images) -> None:
    tx = Store().begin()
    leave = """
      export function run() {
        new FinalizationRegistry(() => ccf.kv["t"].set(ccf.strToBuf("f"), ccf.strToBuf("f"))).register({}, 1);
        Promise.resolve().then(() => Promise.resolve().then(() => { while (true); }));
        throw new Error("left");
      }"""
    with pytest.raises(JsError, match="left"):
        respond(images, leave, limits=Limits(max_execution_time_ms=50))
    assert respond(images, "export const run = () => ({ body: 'clean' });", name="b.js", tx=tx) == "clean"
    assert tx.writes == {}


def test_limits_hold_and_what_ran_into_one_does_no_harm(images: Images) -> None:
    good = "export const run = () => ({ body: 'good' });"
    assert respond(images, good, name="good.js") == "good"
    cases = (
        ("while (true) {}", JsTimeout, "too long"),
        ("const all = []; while (true) all.push(new ArrayBuffer(100000));", JsError, "out of memory"),
        ("const all = []; while (true) all.push({});", JsError, "out of memory"),
        ("const f = () => f() + 1; f();", JsError, "stack overflow"),
    )
    for number, (body, error, reason) in enumerate(cases):
        with pytest.raises(error, match=reason):
            respond(
                images, f"export function run() {{ {body} }}", name=f"{number}.js", limits=Limits(4 << 20, 1 << 18, 300)
            )
        assert respond(images, good, name="good.js") == "good"


def test_a_module_that_does_not_load_leaves_the_image_as_it_was(images: Images) -> None:
    good = "export const run = () => ({ body: 'good' });"
    assert respond(images, good, name="good.js") == "good"
    for text in ("export const run = (;", "import './none.js'; export const run = 1;", "export const other = 1;"):
        for _ in range(2):
            with pytest.raises(JsLoadError):
                respond(images, text, name="bad.js")
            assert respond(images, good, name="good.js") == "good"
    images.clear()  # as another version of the application does
    assert respond(images, "export const run = () => ({ body: 'mended' });", name="bad.js") == "mended"


def test_randomness_is_drawn_anew(images: Images) -> None:
    text = "export const run = () => ({ body: String(Math.random()) });"
    first = respond(images, text)
    global RANDOM
    before, RANDOM = RANDOM, b"\x08" * 4096
    try:
        assert respond(images, text) != first
    finally:
        RANDOM = before


def test_memory_of_a_large_call_goes_back(images: Images) -> None:
    fill = "const a = []; for (let i = 0; i < 60; i++) a.push(new Uint8Array(1e6).fill(1));"
    text = f"export function run() {{ {fill} return {{}} }}"
    respond(images, text)
    before = _resident_bytes()
    for _ in range(5):
        respond(images, text)
    assert _resident_bytes() - before < 8 << 20


def test_it_costs_a_fraction_of_a_new_runtime(images: Images) -> None:
    """Not a benchmark: a factor of five in reality, and two would tell that the image is not used."""
    text = "export const run = () => ({ body: '' });"
    respond(images, text)
    begin = time.process_time()
    for _ in range(50):
        respond(images, text)
    image_s = time.process_time() - begin
    begin = time.process_time()
    for _ in range(50):
        respond_new(text)
    assert image_s < (time.process_time() - begin) / 2


def respond_new(text: str) -> None:
    interpreter = Interpreter(Access.APP_READ_WRITE)
    invocation = Invocation({"app.js": text}.get, None, {}, lambda *_: None, lambda count: bytes(count))
    interpreter.respond("app.js", "run", REQUEST, invocation, DEFAULT_LIMITS)
    interpreter.close()


def test_without_address_space_a_new_runtime_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    need_images()
    monkeypatch.setattr("dataplane.js.memory._MOST_BYTES", 1 << 62)
    with pytest.raises(MemoryError):
        Memory(1 << 60)
    images = Images()
    interpreter = images.take(Access.APP_READ_WRITE, 1 << 60)
    invocation = Invocation(
        {"app.js": "export const run = () => ({ body: 'new' });"}.get,
        None,
        {},
        lambda *_: None,
        lambda count: bytes(count),
    )
    assert interpreter.respond("app.js", "run", REQUEST, invocation, DEFAULT_LIMITS)[1] == b"new"
    images.give_back(Access.APP_READ_WRITE, interpreter)
    assert images._kept == {}


def test_without_the_allocator_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataplane.js.memory._lib", None)
    assert not is_compiled()
    with pytest.raises(MemoryError, match="not compiled"):
        Memory(1)


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
