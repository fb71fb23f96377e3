// Uses the whole surface of npm's @microsoft/ccf-app; what it finds, it answers.
import * as ccfapp from "@microsoft/ccf-app";
import * as ccfcrypto from "@microsoft/ccf-app/crypto";
import { ccf } from "@microsoft/ccf-app/global";
import { verifySnpAttestation } from "@microsoft/ccf-app/snp_attestation";
import { TextEncoder } from "@microsoft/ccf-app/textcodec";
import { failDeeply } from "./lib/failing.js";

interface Note {
  text: string;
  count: number;
}

// Taken once, when the module is loaded: handles work on the transaction of the request being served.
const notes = ccfapp.typedKv("notes", ccfapp.string, ccfapp.json<Note>());
const names = ccfapp.typedKvSet("public:names", ccfapp.string);

export function putNote(request: ccfapp.Request<{ text: string }>): ccfapp.Response {
  const id = request.params.id;
  const count = (notes.get(id)?.count ?? 0) + 1;
  notes.set(id, { text: request.body.json().text, count });
  names.add(id);
  return { statusCode: 204 };
}

export function getNote(request: ccfapp.Request): ccfapp.Response {
  const note = notes.get(request.params.id);
  if (note === undefined) return { statusCode: 404, body: { error: "no such note" } };
  const all: string[] = [];
  names.forEach((name) => all.push(name));
  const version = notes.getVersionOfPreviousWrite(request.params.id);
  const caller = request.caller?.policy;
  return { headers: { "x-size": String(notes.size) }, body: { ...note, all, caller, versioned: Number.isInteger(version) } };
}

export function converters(): ccfapp.Response {
  const same: Record<string, boolean> = {};
  function check<T>(name: string, converter: ccfapp.DataConverter<T>, value: T) {
    const table = ccfapp.typedKv(`public:${name}`, ccfapp.string, converter);
    const found = table.set("k", value).get("k");
    same[name] = String(found) === String(value) || JSON.stringify(found) === JSON.stringify(value);
  }
  check("bool", ccfapp.bool, true);
  check("int8", ccfapp.int8, -128);
  check("uint8", ccfapp.uint8, 255);
  check("int16", ccfapp.int16, -32768);
  check("uint16", ccfapp.uint16, 65535);
  check("int32", ccfapp.int32, -2147483648);
  check("uint32", ccfapp.uint32, 4294967295);
  check("int64", ccfapp.int64, -9223372036854775808n);
  check("uint64", ccfapp.uint64, 18446744073709551615n);
  check("float32", ccfapp.float32, 0.5);
  check("float64", ccfapp.float64, Math.PI);
  check("string", ccfapp.string, "é😀");
  check("json", ccfapp.json<Note>(), { text: "t", count: 1 });
  check("typedArray", ccfapp.typedArray(Uint16Array), new Uint16Array([1, 65535]));
  const bytes = new TextEncoder().encode("abc");
  same["textcodec"] = ccf.bufToStr(bytes.buffer as ArrayBuffer) === "abc";
  same["arrayBuffer"] = ccfapp.arrayBuffer.encode(new ArrayBuffer(3)).byteLength === 3;
  return { body: same };
}

export function crypto(): ccfapp.Response {
  const data = ccf.strToBuf("data");
  const same: Record<string, boolean> = {};
  const signing: [string, ccfcrypto.CryptoKeyPair, ccfcrypto.SigningAlgorithm][] = [
    ["ecdsa", ccfcrypto.generateEcdsaKeyPair("secp384r1"), { name: "ECDSA", hash: "SHA-256" }],
    ["eddsa", ccfcrypto.generateEddsaKeyPair("curve25519"), { name: "EdDSA" }],
    ["rsa", ccfcrypto.generateRsaKeyPair(2048), { name: "RSA-PSS", hash: "SHA-256", saltLength: 32 }],
  ];
  for (const [name, pair, algorithm] of signing) {
    const signature = ccfcrypto.sign(algorithm, pair.privateKey, data);
    same[name] = ccfcrypto.verifySignature(algorithm, pair.publicKey, signature, data);
  }
  const [ecdsa, eddsa, rsa] = signing.map(([, pair]) => pair);
  same["jwk"] = ccfcrypto.jwkToPem(ccfcrypto.pemToJwk(ecdsa.privateKey, "kid")) === ecdsa.privateKey;
  same["eddsaJwk"] = ccfcrypto.pubEddsaJwkToPem(ccfcrypto.pubEddsaPemToJwk(eddsa.publicKey)) === eddsa.publicKey;
  same["rsaJwk"] = ccfcrypto.pubRsaJwkToPem(ccfcrypto.pubRsaPemToJwk(rsa.publicKey)) === rsa.publicKey;
  const key = ccfcrypto.generateAesKey(256);
  const wraps: [ccfcrypto.WrapAlgoParams, ArrayBuffer, ArrayBuffer][] = [
    [{ name: "AES-KWP" }, key, key],
    [{ name: "RSA-OAEP", label: data }, ccf.strToBuf(rsa.publicKey), ccf.strToBuf(rsa.privateKey)],
    [{ name: "RSA-OAEP-AES-KWP", aesKeySize: 256 }, ccf.strToBuf(rsa.publicKey), ccf.strToBuf(rsa.privateKey)],
  ];
  for (const [algorithm, wrapping, unwrapping] of wraps) {
    const back = ccfcrypto.unwrapKey(ccfcrypto.wrapKey(data, wrapping, algorithm), unwrapping, algorithm);
    same[algorithm.name] = ccf.bufToStr(back) === "data";
  }
  same["digest"] = new Uint8Array(ccfcrypto.digest("SHA-256", data)).length === 32;
  same["bundle"] = !ccfcrypto.isValidX509CertBundle("none") && !ccfcrypto.isValidX509CertChain("none", "none");
  return { body: same };
}

export function surface(): ccfapp.Response {
  const { view, seqno } = ccfapp.getLastCommittedTxId();
  const missing = Object.entries({ ...ccfapp, ...ccfcrypto, verifySnpAttestation })
    .filter(([name, value]) => value === undefined && name !== "historicalState")
    .map(([name]) => name);
  return { body: { missing, status: ccfapp.getStatusForTxId(view, seqno), view: ccfapp.getViewForSeqno(seqno) === view } };
}

export function fail(request: ccfapp.Request): ccfapp.Response {
  return failDeeply(request.query);
}
