"""`ccf.kv`: what each context may touch, exact arguments, own writes, iteration, handles that outlive a request."""

import pytest

from dataplane.js.ccf.kv import permissions
from dataplane.js.host import Access, Invocation
from dataplane.js.interpreter import Interpreter, JsError, Limits
from dataplane.kv.store import Store
from dataplane.kv.tx import Tx
from tests.support.scripts import Script, run

GOV, INTERNAL, PUBLIC, PRIVATE = "public:ccf.gov.x", "public:ccf.internal.x", "public:x", "x"
METHODS = {
    "has": "t.has(k)",
    "get": "t.get(k)",
    "getVersionOfPreviousWrite": "t.getVersionOfPreviousWrite(k)",
    "size": "t.size",
    "forEach": "t.forEach(() => {})",
    "set": "t.set(k, k)",
    "delete": "t.delete(k)",
    "clear": "t.clear()",
}
READS = ("has", "get", "getVersionOfPreviousWrite", "size", "forEach")
ALLOWED = {
    Access.GOV_READ_ONLY: {GOV: "R", INTERNAL: "R", PUBLIC: "", PRIVATE: ""},
    Access.GOV_READ_WRITE: {GOV: "RW", INTERNAL: "R", PUBLIC: "W", PRIVATE: ""},
    Access.APP_READ_WRITE: {GOV: "R", INTERNAL: "R", PUBLIC: "RW", PRIVATE: "RW"},
    Access.APP_READ_ONLY: {GOV: "R", INTERNAL: "R", PUBLIC: "R", PRIVATE: "R"},
    Access.APP_HISTORICAL: {GOV: "R", INTERNAL: "R", PUBLIC: "R", PRIVATE: "R"},
}
KINDS = {"R": "read-only", "W": "write-only", "": "inaccessible"}


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize("method", METHODS)
def test_each_context_may_do_what_the_contract_allows(access: Access, method: str) -> None:
    for table, allowed in ALLOWED[access].items():
        body = f"const k = ccf.strToBuf('k'), t = ccf.kv['{table}']; {METHODS[method]}; return 'done'"
        tx = Store().begin()
        if ("R" if method in READS else "W") in allowed:
            assert run(body, access=access, tx=tx) == "done"
            continue
        with pytest.raises(JsError) as caught:
            run(body, access=access, tx=tx)
        assert not tx.writes
        for part in ("TypeError", method, table, KINDS[allowed], access.value, "read_write_restrictions"):
            assert part in caught.value.reason


@pytest.mark.parametrize("table", ["ccf.gov.x", "ccf.internal.x", "ccf.other", "public:ccf.other", "public:ccf.gov"])
@pytest.mark.parametrize("access", Access)
def test_reserved_names_are_nobodys(access: Access, table: str) -> None:
    assert permissions(access, table) == (False, False)


def test_a_handle_can_always_be_had() -> None:
    assert run("return typeof ccf.kv['ccf.gov.x'].get", access=Access.GOV_READ_ONLY) == "function"


@pytest.mark.parametrize("name", ["get", "set", "constructor", "__proto__", "", "é\x00"])
def test_any_text_names_a_table(name: str) -> None:
    tx = Store().begin()
    run("ccf.kv[args[0]].set(ccf.strToBuf('k'), ccf.strToBuf('v'))", [name], tx=tx)
    assert tx.writes == {name: {b"k": b"v"}}


BAD_CALLS = [
    *(
        f"{name}({arguments})"
        for name in ("get", "has", "delete")
        for arguments in ("", "k, k", "'k'", "new Uint8Array(1)")
    ),
    *(
        f"set({arguments})"
        for arguments in ("", "k", "k, k, k", "k, 'v'", "'k', k", "k, undefined", "k, null", "k, {}")
    ),
    "clear(1)",
    "forEach()",
    "forEach(1)",
    "forEach(() => 1, 2)",
    "getVersionOfPreviousWrite()",
]


@pytest.mark.parametrize("call", BAD_CALLS)
def test_wrong_arguments_are_type_errors(call: str) -> None:
    tx = Store().begin()
    with pytest.raises(JsError, match=r"^TypeError: "):
        run(f"const k = ccf.strToBuf('k'); ccf.kv['t'].{call}", tx=tx)
    assert not tx.writes


def test_a_detached_buffer_is_a_type_error() -> None:
    with pytest.raises(JsError, match=r"^TypeError: "):
        run("const k = new ArrayBuffer(4); k.transfer(); ccf.kv['t'].has(k)")


def test_what_is_written_is_what_was_passed() -> None:
    tx = Store().begin()
    run("const k = new ArrayBuffer(0), v = new Uint8Array([0, 255]); ccf.kv['t'].set(k, v.buffer); v[0] = 9", tx=tx)
    assert tx.writes == {"t": {b"": b"\x00\xff"}}


def test_own_writes_are_visible() -> None:
    body = """
      const t = ccf.kv["t"], k = ccf.strToBuf("k"), v = ccf.strToBuf("v");
      const seen = [t.has(k), t.get(k), t.size];
      const same = t.set(k, v) === t;
      seen.push(same, t.has(k), ccf.bufToStr(t.get(k)), t.size);
      t.delete(k);
      seen.push(t.has(k), t.size);
      t.set(k, v).clear();
      seen.push(t.size);
      return seen;
    """
    assert run(body) == [False, None, 0, True, True, "v", 1, False, 0, 0]


def _filled(count: int = 5) -> Tx:
    store = Store()
    tx = store.begin()
    for number in range(count):
        tx.put("t", number.to_bytes(4, "big"), b"v" * (number % 700))
    store.commit(tx, 1)
    return store.begin()


def test_versions_are_the_seqno_of_the_last_commit() -> None:
    body = """
      const t = ccf.kv["t"], k = new Uint8Array([0, 0, 0, 1]).buffer;
      t.set(k, k);
      return [t.getVersionOfPreviousWrite(k), t.getVersionOfPreviousWrite(ccf.strToBuf("none"))];
    """
    assert run(body, tx=_filled()) == [1, None]


@pytest.mark.parametrize("count", [0, 1, 5, 1000])
def test_for_each_gives_every_row_in_order(count: int) -> None:
    body = """
      const rows = [];
      ccf.kv["t"].forEach((value, key, map) => {
        rows.push([new DataView(key).getUint32(0), value.byteLength, map === ccf.kv["t"]]);
      });
      return rows;
    """
    assert run(body, tx=_filled(count)) == [[number, number % 700, True] for number in range(count)]


def test_for_each_sees_a_snapshot_while_the_table_changes() -> None:
    body = """
      const t = ccf.kv["t"]; let count = 0;
      t.forEach((value, key) => { count++; t.delete(key); t.set(ccf.strToBuf("new" + count), key); });
      return [count, t.size];
    """
    assert run(body, tx=_filled()) == [5, 5]


def test_for_each_may_be_nested_and_left_by_an_exception() -> None:
    body = """
      const t = ccf.kv["t"]; let count = 0;
      try { t.forEach(() => { throw 1 }) } catch {}
      t.forEach(() => t.forEach(() => count++));
      return count;
    """
    assert run(body, tx=_filled()) == 25


def test_handles_at_the_top_of_a_module_follow_the_call() -> None:
    source = """
      const t = ccf.kv["t"], set = t.set.bind(t);
      export function run(key, value) {
        const k = ccf.strToBuf(key);
        const had = t.has(k);
        set(k, ccf.strToBuf(value));
        return had;
      }
    """
    interpreter, store = Interpreter(Access.APP_READ_WRITE), Store()
    for seqno, (key, had) in enumerate([("a", False), ("a", True), ("b", False)], 1):
        tx = store.begin()
        invocation = Invocation({"m.js": source}.get, tx, {}, lambda level, text: None, bytes)
        assert interpreter.call("m.js", "run", [key, "v"], invocation, Limits()) is had
        assert tx.writes == {"t": {key.encode(): b"v"}}
        store.commit(tx, seqno)
    interpreter.close()


def test_an_iteration_cannot_outlive_its_call() -> None:
    source = """
      let resume;
      export function run(first) {
        if (!first) return resume.next();
        resume = (function* () { yield 1; ccf.kv["t"].forEach(() => {}) })();
        return resume.next();
      }
    """
    assert Script(source).call(args=[True]) == {"value": 1, "done": False}


def test_many_handles_do_not_pile_up_references() -> None:
    interpreter = Interpreter(Access.APP_READ_WRITE)
    source = {"m.js": "export function run() { for (let i = 0; i < 50; i++) ccf.kv['t' + i].size }"}.get
    for _ in range(5):
        tx = Store().begin()
        interpreter.call("m.js", "run", [], Invocation(source, tx, {}, lambda level, text: None, bytes), Limits())
    assert len(interpreter.host.tables) == 50
    interpreter.close()


def test_scripts_without_a_transaction_cannot_use_tables() -> None:
    interpreter = Interpreter(Access.APP_READ_WRITE)
    source = {"m.js": "export function run() { return ccf.kv['t'].size }"}.get
    with pytest.raises(JsError, match="No transaction"):
        interpreter.call("m.js", "run", [], Invocation(source, None, {}, lambda level, text: None, bytes), Limits())
    interpreter.close()


def test_the_kv_object_cannot_be_changed() -> None:
    assert run("try { ccf.kv['t'] = 1 } catch {} return typeof ccf.kv['t'].get") == "function"
