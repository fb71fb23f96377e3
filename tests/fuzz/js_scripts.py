"""Random scripts against the interpreter, in a process of their own: a fault of the binding would end it.

    python -m tests.fuzz.js_scripts <seed> <count>

Scripts are made of fragments that are each hard on the boundary between engine and host: odd arguments, throwing
callbacks, changed intrinsics, handles and buffers that outlive their request, limits of every size.
"""

import faulthandler
import random
import resource
import sys

from dataplane.js.host import Access, Invocation
from dataplane.js.images import Images
from dataplane.js.interpreter import Interpreter, InterpreterCache, JsError, Limits
from dataplane.kv.store import Store

VALUES = (
    "undefined", "null", "0", "-1", "1e300", "NaN", "'k'", "'\\ud800'", "''", "'x'.repeat(5000)", "k", "v", "{}", "[]",
    "new ArrayBuffer(0)", "new ArrayBuffer(9)", "new ArrayBuffer(4, { maxByteLength: 64 })", "detached()",
    "new Uint8Array(3)", "new Float64Array(2)", "new DataView(v)", "new SharedArrayBuffer(4)", "Symbol('s')", "10n",
    "() => 1", "() => { throw new Error('callback') }", "() => { while (true); }", "async () => { await 0; throw 1 }",
    "new Proxy({}, { get() { throw 1 } })", "Object.create(null)", "{ toString() { throw 1 } }", "globalThis", "t",
    "ccf", "kept", "{ get x() { return deep() } }", "new Error('e')", "Promise.reject(1)", "new Promise(() => {})",
    "/(a+)+b/", "{ name: 'ECDSA', hash: 'SHA-256' }", "{ name: 'AES-KWP' }", "{ name: 'RSA-OAEP', label: t }", "128",
    "{ get name() { v.transfer?.(); return 'HMAC' }, hash: 'SHA-512' }", "pair.publicKey", "pair.privateKey", "jwk",
)  # fmt: skip
FUNCTIONS = (
    "t.get", "t.set", "t.has", "t.delete", "t.clear", "t.forEach", "t.getVersionOfPreviousWrite", "ccf.strToBuf",
    "ccf.bufToStr", "ccf.jsonCompatibleToBuf", "ccf.bufToJsonCompatible", "ccf.pemToId", "ccf.crypto.digest",
    "ccf.crypto.isValidX509CertBundle", "ccf.crypto.isValidX509CertChain", "ccf.rpc.setClaimsDigest",
    "ccf.rpc.setApplyWrites", "ccf.node.echo", "ccf.node.fail", "ccf.node.nested", "ccf.consensus.getViewForSeqno",
    "ccf.enableMetricsLogging", "console.log", "JSON.stringify", "JSON.parse", "String", "structuredCopy",
    "Math.random", "other.x.get", "host", "ccf.crypto.sign", "ccf.crypto.verifySignature", "ccf.crypto.wrapKey",
    "ccf.crypto.unwrapKey", "ccf.crypto.pemToJwk", "ccf.crypto.jwkToPem", "ccf.crypto.generateAesKey",
    "((a, b) => ccf.crypto.sign(a, b, v))", "((a, b) => ccf.crypto.verifySignature(a, pair.publicKey, b, v))",
    "((a, b) => ccf.crypto.wrapKey(v, a, b))", "snp_attestation.verifySnpAttestation", "console.error",
)  # fmt: skip
STATEMENTS = (
    "{f}({a}, {b});",
    "{f}({a});",
    "{f}();",
    "kept = {f}({a}, {b});",
    "try {{ {f}({a}) }} catch (e) {{ kept = e }} finally {{ {f}({b}) }}",
    "t.forEach((value, key) => {{ {f}(value, key); t.set(key, {a}); }});",
    "t.forEach((value, key, map) => {{ map.delete(key); map.forEach(() => {f}({a})); }});",
    "Promise.resolve({a}).then((x) => {f}(x)).catch(() => {f}({b}));",
    "(async () => {{ await {f}({a}); await import('./other.js'); {f}({b}) }})();",
    "for (const x of (function* () {{ yield {a}; {f}({b}) }})()) {f}(x);",
    "new Proxy(t, {{ get: (o, n) => {f}({a}) }}).get;",
    "Object.defineProperty(globalThis, 'g' + Math.floor(Math.random() * 9), {{ value: {a}, configurable: true }});",
    "ArrayBuffer.prototype.slice = {a}; Promise.prototype.then = {b};",
    "Array.prototype[Symbol.iterator] = {a};",
    "Error.prepareStackTrace = () => {f}({a}); new Error().stack;",
    "const many{n} = []; for (let i = 0; i < 3000; i++) many{n}.push({a});",
    "ccf.kv['t' + Math.random()].set(k, v);",
    "queueMicrotask?.(() => {f}({a}));",
    "new FinalizationRegistry(() => {f}({a})).register({{}}, 1);",
    "kept = new WeakRef({{ x: {f} }}); deep();",
    "v.transfer?.(); {f}(v);",
    "throw {a};",
)
PROLOGUE = """
import * as other from "./other.js";
const t = ccf.kv["t"];
const pair = ccf.crypto.generateEcdsaKeyPair("secp256r1");
const jwk = ccf.crypto.pemToJwk(pair.privateKey);
let kept = null;
const structuredCopy = (x) => JSON.parse(JSON.stringify(x));
const detached = () => { const b = new ArrayBuffer(8); b.transfer(); return b };
const deep = (n = 0) => (n > 50 ? n : deep(n + 1));
export function run(input) {
  const k = ccf.strToBuf("k"), v = new ArrayBuffer(16);
  try { for (let i = 0; i < 3; i++) t.set(ccf.strToBuf("k" + i), v); } catch {}
"""


def script(draw: random.Random) -> str:
    """One module that exports `run`."""
    lines = []
    for number in range(draw.randint(1, 6)):
        a, b = draw.choice(VALUES), draw.choice(VALUES)
        line = draw.choice(STATEMENTS).format(f=draw.choice(FUNCTIONS), a=f"({a})", b=f"({b})", n=number)
        lines.append(f"try {{ {line} }} catch (error) {{ kept = error }}" if draw.random() < 0.8 else line)
    text = f"{PROLOGUE}{chr(10).join(lines)}\n  return ({draw.choice(VALUES)});\n}}\n"
    return _garbled(text, draw) if draw.random() < 0.1 else text


def _garbled(text: str, draw: random.Random) -> str:
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(text))
        text = (
            text[:at]
            + draw.choice(("", "{", ")", "`", "\0", "\\u", "é", "await ", "/*"))
            + text[at + draw.randint(0, 9) :]
        )
    return text


def limits(draw: random.Random) -> Limits:
    """Limits of every size: many scripts run into one."""
    return Limits(
        draw.choice((200_000, 300_000, 400_000, 600_000, 1 << 20, 8 << 20, 64 << 20)),
        draw.choice((8_000, 32_000, 256_000, 1 << 20, 1 << 40, 1 << 20)),
        draw.choice((2, 5, 20)),
    )


def run_scripts(seed: int, count: int) -> dict[str, int]:
    """Run `count` scripts; how each ended. Only failures of scripts may come out."""
    draw, cache, images, outcomes = random.Random(seed), InterpreterCache(), Images(), dict[str, int]()
    source = ""
    for _ in range(count):
        if draw.random() < 0.7 or not source:
            source = script(draw)
            images.clear()
        outcome = _run(draw, cache, images, source)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    cache.clear()
    images.clear()
    return outcomes


def _run(draw: random.Random, cache: InterpreterCache, images: Images, source: str) -> str:
    modules = {"main.js": source, "other.js": "export const x = ccf.kv['other'];"}
    access = draw.choice([*Access, *[Access.APP_READ_WRITE] * 5])
    reused = draw.random() < 0.5
    interpreter = cache.take(source, access) if reused else images.take(access, 64 << 20)

    def nested(*_: object) -> object:
        inner = Invocation(modules.get, Store().begin(), {}, lambda level, text: None, draw.randbytes)
        inside = Interpreter(Access.APP_READ_WRITE)
        try:
            return inside.call("main.js", "run", [1], inner, limits(draw))
        except JsError as error:
            raise ValueError(error.reason) from None
        finally:
            inside.close()

    def fail(*_: object) -> None:
        raise ValueError("a native failed")

    natives = {"node.echo": lambda *values: list(values), "node.fail": fail, "node.nested": nested}
    invocation = Invocation(modules.get, Store().begin(), natives, lambda level, text: None, draw.randbytes)
    try:
        if draw.random() < 0.5:
            request = '["GET", "/", "/", "", "/", null, {}]'
            interpreter.respond("main.js", "run", request, invocation, limits(draw))
        else:
            interpreter.call("main.js", "run", [{"a": [b"x", None]}], invocation, limits(draw))
        return "returned"
    except JsError as error:
        return type(error).__name__
    finally:
        if reused:
            cache.give_back(source, access, interpreter, 8)
        else:
            images.give_back(access, interpreter)


def main(seed: int, count: int) -> None:
    """Run, and print how the scripts ended and how much memory the process grew meanwhile."""
    faulthandler.enable(sys.stdout)
    run_scripts(seed, 300)  # so that caches are full before memory is looked at
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = run_scripts(seed + 1, count)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    print(f"seed {seed}: {outcomes}, grown by {grown_kib} KiB")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
