"""The rest of the `ccf` global, `console` and `Math.random` (node-api.md 5.8)."""

import contextlib
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.crypto.certs import create_csr, endorse_node_csr, self_signed_service_certificate
from dataplane.crypto.keys import cert_id
from dataplane.js.ccf.prelude import OPERATIONS
from dataplane.js.host import Access, Invocation
from dataplane.js.interpreter import Interpreter, JsError
from dataplane.js.quickjs import Pending, new_int
from dataplane.kv.store import Store
from tests.support.scripts import Script, run

START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


def _certificates(start: datetime = START) -> tuple[str, str]:
    """A self-signed issuer, and a certificate it endorsed."""
    issuer, node = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    issuer_pem = self_signed_service_certificate(issuer, "CN=issuer", 7, start, 10)
    csr = create_csr(node, "CN=node", ["iPAddress:127.0.0.1"])
    return issuer_pem, endorse_node_csr(issuer, issuer_pem, csr, 8, start, 10)


@pytest.mark.parametrize("text", ["", "a", "é😀", "a\x00b", "x" * 10_000])
def test_text_and_bytes(text: str) -> None:
    assert run("return ccf.strToBuf(args[0])", [text]) == text.encode()
    assert run("return ccf.bufToStr(args[0])", [text.encode()]) == text


@pytest.mark.parametrize(
    ("data", "text"), [(b"\xff", "�"), (b"a\xc3", "a�"), (b"\xed\xa0\x80", "���"), (b"\xf0\x9f\x98", "�")]
)
def test_invalid_utf8_is_replaced(data: bytes, text: str) -> None:
    assert run("return ccf.bufToStr(args[0])", [data]) == text


def test_a_lone_surrogate_is_replaced() -> None:
    result = run("return ccf.strToBuf('a\\ud800b')")
    assert isinstance(result, bytes)
    assert result.decode().startswith("a�")
    assert result.decode().endswith("b")


@pytest.mark.parametrize("value", ["1", "'x'", "null", "[1, {}]", "{ a: 'é' }"])
def test_json_and_bytes(value: str) -> None:
    there_and_back = "ccf.bufToJsonCompatible(ccf.jsonCompatibleToBuf(v))"
    assert run(f"const v = {value}; return JSON.stringify({there_and_back}) === JSON.stringify(v)") is True


@pytest.mark.parametrize(
    "expression",
    [
        "ccf.strToBuf(1)",
        "ccf.strToBuf()",
        "ccf.strToBuf('a', 'b')",
        "ccf.bufToStr('a')",
        "ccf.bufToStr(new Uint8Array(1))",
        "ccf.jsonCompatibleToBuf(undefined)",
        "ccf.jsonCompatibleToBuf(() => 1)",
        "ccf.jsonCompatibleToBuf(1n)",
        "ccf.bufToJsonCompatible('1')",
        "ccf.enableMetricsLogging(1)",
        "ccf.enableUntrustedDateTime()",
        "ccf.rpc.setApplyWrites(1)",
        "ccf.rpc.setApplyWrites()",
        "ccf.rpc.setClaimsDigest('x')",
        "ccf.crypto.digest('SHA-256')",
        "ccf.crypto.digest('SHA-256', 'x')",
        "ccf.pemToId(1)",
    ],
)
def test_wrong_arguments_are_type_errors(expression: str) -> None:
    with pytest.raises(JsError, match=r"^TypeError: "):
        run(expression)


def test_json_that_is_none_is_a_syntax_error() -> None:
    with pytest.raises(JsError, match=r"^SyntaxError: "):
        run("ccf.bufToJsonCompatible(ccf.strToBuf('{'))")


def test_digests() -> None:
    assert run("return ccf.crypto.digest('SHA-256', ccf.strToBuf('abc'))") == sha256(b"abc").digest()
    assert run("return ccf.digest('SHA-256', ccf.strToBuf('abc'))") == sha256(b"abc").digest()
    with pytest.raises(JsError, match="Unsupported digest algorithm SHA-1"):
        run("ccf.crypto.digest('SHA-1', ccf.strToBuf('abc'))")


def test_certificates() -> None:
    issuer, endorsed = _certificates()
    other, _ = _certificates()
    assert run("return ccf.pemToId(args[0])", [issuer]) == cert_id(issuer)
    assert run("return ccf.crypto.isValidX509CertBundle(args[0])", [issuer + endorsed]) is True
    assert run("return ccf.isValidX509CertBundle(args[0])", ["no certificate"]) is False
    chain = "return ccf.crypto.isValidX509CertChain(args[0], args[1])"
    assert run(chain, [endorsed, issuer]) is True
    assert run(chain, [endorsed + issuer, issuer]) is True
    assert run(chain, [endorsed, other]) is False
    assert run(chain, ["", issuer]) is False
    assert run(chain, [issuer, issuer]) is True
    assert run(chain, [endorsed, endorsed]) is False, "what is trusted must be an authority"
    expired, _ = _certificates(START - timedelta(days=20))
    assert run(chain, [expired, expired]) is False
    with pytest.raises(JsError, match="no certificate in the text"):
        run("return ccf.pemToId('x')")


def test_claims_go_to_the_transaction() -> None:
    tx = Store().begin()
    run("ccf.rpc.setClaimsDigest(ccf.crypto.digest('SHA-256', ccf.strToBuf('x')))", tx=tx)
    assert tx.claims_digest == sha256(b"x").digest()
    with pytest.raises(JsError, match="32 bytes"):
        run("ccf.rpc.setClaimsDigest(new ArrayBuffer(31))")


def test_settings_answer_what_they_were() -> None:
    assert run("return [ccf.enableMetricsLogging(false), ccf.enableMetricsLogging(true)]") == [True, False]
    assert run("return [ccf.enableUntrustedDateTime(true), ccf.enableUntrustedDateTime(0)]") == [True, False]


def test_what_is_not_served_exists_and_says_so() -> None:
    for call in (
        "gov.validateConstitution('')",
        "consensus.getLastCommittedTxId()",
        "historical.getStateRange(1, 1, 1)",
        "historical.dropCachedStates(1)",
    ):
        assert run(f"return typeof ccf.{call.partition('(')[0]}") == "function"
        with pytest.raises(JsError, match="is not served in this context"):
            run(f"ccf.{call}")


@pytest.mark.parametrize(
    "call",
    [
        "gov.validateConstitution()",
        "consensus.getLastCommittedTxId(1)",
        "consensus.getStatusForTxId(1)",
        "consensus.getViewForSeqno()",
        "historical.getStateRange(1, 1)",
        "historical.getStateRange(1, 1, 1, 1, 1)",
        "historical.dropCachedStates()",
    ],
)
def test_counts_of_arguments_are_exact_whoever_serves_the_function(call: str) -> None:
    natives = {call.partition("(")[0]: lambda *_: 1}
    with pytest.raises(JsError, match=r"^TypeError: Passed \d arguments, but expected"):
        run(f"ccf.{call}", natives=natives)


def test_a_native_appears_below_the_global() -> None:
    assert run("return ccf.refreshAppBytecodeCache()", natives={"refreshAppBytecodeCache": lambda: None}) is None


def test_the_console_has_four_levels() -> None:
    script = Script(
        "export function run() { console.log('a', 1); console.info({ a: [1] }); console.warn();"
        "console.error(null, undefined, new TypeError('x')); const o = {}; o.o = o; console.log(o, Symbol('s'), 1n) }"
    )
    script.call()
    assert script.lines == [
        ("info", "a 1"),
        ("info", '{"a":[1]}'),
        ("warn", ""),
        ("error", "null undefined TypeError: x"),
        ("info", "[no JSON text] Symbol(s) 1"),
    ]


def test_changed_intrinsics_do_not_change_the_host() -> None:
    body = """
      JSON.parse = JSON.stringify = Object.defineProperty = () => { throw new Error("mine") };
      ArrayBuffer.prototype.slice = String.prototype.split = Promise.prototype.then = null;
      globalThis.Uint32Array = globalThis.Map = globalThis.TypeError = undefined;
      const t = ccf.kv["t"];
      t.set(ccf.strToBuf("k"), ccf.jsonCompatibleToBuf({ a: 1 }));
      let seen; t.forEach((v) => (seen = ccf.bufToJsonCompatible(v)));
      Math.random(); ccf.crypto.digest("SHA-256", ccf.strToBuf(""));
      return seen;
    """
    assert run(body) == {"a": 1}


@pytest.mark.parametrize("operation", range(len(OPERATIONS) + 2))
def test_the_native_function_is_safe_in_a_scripts_hands(operation: int) -> None:
    """Should a script ever get hold of it: it can do nothing new, and a fault ends the request, not the process."""
    source = """
      const odd = [undefined, null, 0, -1, 1e9, 0.5, "x", {}, Symbol(), new ArrayBuffer(3), 10n, () => 1];
      export function run(host, op) {
        for (const a of odd)
          for (const b of odd)
            for (const args of [[], [a], [a, b], [a, b, a], [0, a, b]]) try { host(op, ...args) } catch {}
      }
    """
    interpreter, tx = Interpreter(Access.APP_READ_ONLY), Store().begin()
    context = interpreter.context
    interpreter.host.invocation = Invocation({"m.js": source}.get, tx, {}, lambda level, text: None, bytes)
    context.enter(1 << 30, 1 << 20, 5000)
    with contextlib.suppress(Pending):
        context.free(context.call(interpreter._function("m.js", "run"), [context.native(), new_int(operation)]))
    context.leave()
    assert context.failure is None or isinstance(context.failure, IndexError)
    assert not tx.writes
    interpreter.close()
