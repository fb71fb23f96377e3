"""`ccf.crypto` against the library, and against published vectors (node-api.md 5.8)."""

import base64
import hmac
from hashlib import sha256, sha384, sha512
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from dataplane.crypto.certs import self_signed_client_certificate
from dataplane.js.ccf.crypto import FUNCTIONS
from dataplane.js.interpreter import JsError
from tests.support.scripts import run
from tests.unit.js.test_ccf import START

DATA = b"what is signed"
RSA = rsa.generate_private_key(65537, 2048)
CURVES = {"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1(), "secp256k1": ec.SECP256K1()}
HASHES = {"SHA-256": hashes.SHA256(), "SHA-384": hashes.SHA384(), "SHA-512": hashes.SHA512()}


def _pem(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()  # type: ignore[no-any-return]


def _public(key: Any) -> str:
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()  # type: ignore[no-any-return]


def _call(name: str, *args: object) -> Any:
    return run(f"return ccf.crypto.{name}(...args)", list(args))


# Signatures


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("digest", HASHES)
def test_ecdsa_signatures_are_two_numbers_side_by_side(curve: str, digest: str) -> None:
    key = ec.generate_private_key(CURVES[curve])
    signature = _call("sign", {"name": "ECDSA", "hash": digest}, _pem(key), DATA)
    half = (CURVES[curve].key_size + 7) // 8
    assert len(signature) == 2 * half
    r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    key.public_key().verify(encode_dss_signature(r, s), DATA, ec.ECDSA(HASHES[digest]))


@pytest.mark.parametrize("curve", CURVES)
def test_ecdsa_verification(curve: str) -> None:
    key = ec.generate_private_key(CURVES[curve])
    half = (CURVES[curve].key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(DATA, ec.ECDSA(hashes.SHA256())))
    signature, algorithm = r.to_bytes(half, "big") + s.to_bytes(half, "big"), {"name": "ECDSA", "hash": "SHA-256"}
    assert _call("verifySignature", algorithm, _public(key), signature, DATA) is True
    other = _public(ec.generate_private_key(CURVES[curve]))
    for pem, changed, data in [
        (_public(key), signature, DATA + b"."),
        (_public(key), signature[:-1], DATA),
        (_public(key), b"", DATA),
        (_public(key), bytes(len(signature)), DATA),
        (_public(key), key.sign(DATA, ec.ECDSA(hashes.SHA256())), DATA),
        (other, signature, DATA),
    ]:
        assert _call("verifySignature", algorithm, pem, changed, data) is False


def test_a_certificate_serves_as_a_key() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    certificate = self_signed_client_certificate(key, "CN=me", 1, START, 10)
    algorithm = {"name": "ECDSA", "hash": "SHA-256"}
    signature = _call("sign", algorithm, _pem(key), DATA)
    assert _call("verifySignature", algorithm, certificate, signature, DATA) is True
    assert _call("verifySignature", algorithm, certificate, signature, b"") is False


@pytest.mark.parametrize("digest", HASHES)
@pytest.mark.parametrize("salt", [None, 0, 20, 32])
def test_rsa_pss_signatures_have_the_salt_asked_for(digest: str, salt: int | None) -> None:
    algorithm = {"name": "RSA-PSS", "hash": digest} | ({} if salt is None else {"saltLength": salt})
    signature = _call("sign", algorithm, _pem(RSA), DATA)
    scheme = padding.PSS(padding.MGF1(HASHES[digest]), salt or 0)
    RSA.public_key().verify(signature, DATA, scheme, HASHES[digest])


def test_rsa_pss_verification() -> None:
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    signature = RSA.sign(DATA, scheme, hashes.SHA256())
    algorithm = {"name": "RSA-PSS", "hash": "SHA-256", "saltLength": 32}
    assert _call("verifySignature", algorithm, _public(RSA), signature, DATA) is True
    assert _call("verifySignature", {**algorithm, "saltLength": 31}, _public(RSA), signature, DATA) is False
    assert _call("verifySignature", algorithm, _public(RSA), signature, b"") is False
    assert _call("verifySignature", algorithm, _public(RSA), b"short", DATA) is False


def test_eddsa_both_ways() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    signature = _call("sign", {"name": "EdDSA"}, _pem(key), DATA)
    assert signature == key.sign(DATA)
    assert _call("verifySignature", {"name": "EdDSA"}, _public(key), signature, DATA) is True
    assert _call("verifySignature", {"name": "EdDSA"}, _public(key), signature, b"") is False


@pytest.mark.parametrize(("digest", "reference"), [("SHA-256", sha256), ("SHA-384", sha384), ("SHA-512", sha512)])
def test_hmac(digest: str, reference: Any) -> None:
    assert _call("sign", {"name": "HMAC", "hash": digest}, "clé", DATA) == hmac.digest("clé".encode(), DATA, reference)


# Key generation


@pytest.mark.parametrize("bits", [128, 192, 256])
@pytest.mark.parametrize("owner", ["ccf.crypto", "ccf"])
def test_aes_keys(bits: int, owner: str) -> None:
    first, second = run(f"return [1, 2].map(() => {owner}.generateAesKey({bits}))")  # type: ignore[misc]
    assert len(first) == bits // 8
    assert first != second


@pytest.mark.parametrize(("arguments", "exponent"), [([2048], 65537), ([2048, 3], 3), ([2048, None], 65537)])
def test_rsa_key_pairs(arguments: list[int], exponent: int) -> None:
    pair = _call("generateRsaKeyPair", *arguments)
    key = load_pem_private_key(pair["privateKey"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert (key.key_size, key.public_key().public_numbers().e) == (2048, exponent)
    assert pair["publicKey"] == _public(key)


@pytest.mark.parametrize("curve", CURVES)
def test_ecdsa_key_pairs(curve: str) -> None:
    pair = _call("generateEcdsaKeyPair", curve)
    key = load_pem_private_key(pair["privateKey"].encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == curve
    assert pair["publicKey"] == _public(key)


@pytest.mark.parametrize(
    ("curve", "kind"), [("curve25519", ed25519.Ed25519PrivateKey), ("x25519", x25519.X25519PrivateKey)]
)
def test_edwards_key_pairs(curve: str, kind: type) -> None:
    pair = _call("generateEddsaKeyPair", curve)
    key = load_pem_private_key(pair["privateKey"].encode(), None)
    assert isinstance(key, kind)
    assert pair["publicKey"] == _public(key)


# Wrapping


@pytest.mark.parametrize("label", [None, b"", b"label"])
def test_rsa_oaep(label: bytes | None) -> None:
    algorithm = {"name": "RSA-OAEP"} | ({} if label is None else {"label": label})
    wrapped = _call("wrapKey", b"a key", _public(RSA).encode(), algorithm)
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)
    assert RSA.decrypt(wrapped, scheme) == b"a key"
    assert _call("unwrapKey", wrapped, _pem(RSA).encode(), algorithm) == b"a key"


@pytest.mark.parametrize(
    ("wrapping_key", "key", "wrapped"),
    [  # RFC 5649 section 6
        (
            "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8",
            "c37b7e6492584340bed12207808941155068f738",
            "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
        ),
        ("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8", "466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
    ],
)
def test_aes_key_wrapping_with_padding(wrapping_key: str, key: str, wrapped: str) -> None:
    algorithm, given = {"name": "AES-KWP"}, bytes.fromhex(wrapping_key)
    assert _call("wrapKey", bytes.fromhex(key), given, algorithm).hex() == wrapped
    assert _call("unwrapKey", bytes.fromhex(wrapped), given, algorithm).hex() == key


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_rsa_oaep_with_aes(bits: int) -> None:
    algorithm = {"name": "RSA-OAEP-AES-KWP", "aesKeySize": bits, "label": b"label"}
    wrapped = _call("wrapKey", b"k" * 300, _public(RSA).encode(), algorithm)
    assert _call("unwrapKey", wrapped, _pem(RSA).encode(), algorithm) == b"k" * 300
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"label")
    assert len(RSA.decrypt(wrapped[:256], scheme)) == bits // 8


@pytest.mark.parametrize(
    ("wrapped", "algorithm"),
    [
        (b"", {"name": "AES-KWP"}),
        (bytes(24), {"name": "AES-KWP"}),
        (bytes(256), {"name": "RSA-OAEP"}),
        (bytes(255), {"name": "RSA-OAEP"}),
        (bytes(256), {"name": "RSA-OAEP-AES-KWP"}),
        (bytes(300), {"name": "RSA-OAEP-AES-KWP"}),
    ],
)
def test_what_was_not_wrapped_cannot_be_unwrapped(wrapped: bytes, algorithm: dict[str, object]) -> None:
    key = bytes(32) if algorithm["name"] == "AES-KWP" else _pem(RSA).encode()
    with pytest.raises(JsError, match=r"^InternalError: unwrapKey failed"):
        _call("unwrapKey", wrapped, key, algorithm)


def test_another_label_does_not_unwrap() -> None:
    wrapped = _call("wrapKey", b"a key", _public(RSA).encode(), {"name": "RSA-OAEP", "label": b"one"})
    with pytest.raises(JsError, match="cannot be decrypted"):
        _call("unwrapKey", wrapped, _pem(RSA).encode(), {"name": "RSA-OAEP", "label": b"two"})


# PEM and JWK


PAIRS = [
    ("pemToJwk", "jwkToPem", "pubPemToJwk", "pubJwkToPem", ec.generate_private_key(ec.SECP256R1())),
    ("pemToJwk", "jwkToPem", "pubPemToJwk", "pubJwkToPem", ec.generate_private_key(ec.SECP384R1())),
    ("pemToJwk", "jwkToPem", "pubPemToJwk", "pubJwkToPem", ec.generate_private_key(ec.SECP256K1())),
    ("rsaPemToJwk", "rsaJwkToPem", "pubRsaPemToJwk", "pubRsaJwkToPem", RSA),
    ("eddsaPemToJwk", "eddsaJwkToPem", "pubEddsaPemToJwk", "pubEddsaJwkToPem", ed25519.Ed25519PrivateKey.generate()),
    ("eddsaPemToJwk", "eddsaJwkToPem", "pubEddsaPemToJwk", "pubEddsaJwkToPem", x25519.X25519PrivateKey.generate()),
]


@pytest.mark.parametrize(("to_jwk", "to_pem", "public_to_jwk", "public_to_pem", "key"), PAIRS)
def test_keys_survive_the_way_to_jwk_and_back(
    to_jwk: str, to_pem: str, public_to_jwk: str, public_to_pem: str, key: Any
) -> None:
    private, public = _call(to_jwk, _pem(key)), _call(public_to_jwk, _public(key))
    assert _call(to_pem, private) == _pem(key)
    assert _call(public_to_pem, public) == _public(key)
    assert public.items() <= private.items()
    assert not {"d", "p", "q", "kid"} & set(public)
    assert _call(to_jwk, _pem(key), "my key") == {**private, "kid": "my key"}
    assert _call(public_to_jwk, _public(key), None) == public


def test_the_key_of_rfc_7517_appendix_a() -> None:
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
    }
    assert _call("pemToJwk", _call("jwkToPem", jwk)) == jwk


def test_the_key_of_rfc_8037_appendix_a() -> None:
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }
    assert _call("eddsaPemToJwk", _call("eddsaJwkToPem", jwk)) == jwk


def test_coordinates_keep_their_leading_zeros() -> None:
    key = ec.derive_private_key(1, ec.SECP256R1())
    jwk = _call("pemToJwk", _pem(key))
    assert base64.urlsafe_b64decode(jwk["d"] + "=") == (1).to_bytes(32, "big")


@pytest.mark.parametrize(("to_jwk", "to_pem", "public_to_jwk", "public_to_pem", "key"), PAIRS[:1] + PAIRS[3:])
def test_a_jwk_that_is_no_key_is_refused(
    to_jwk: str, to_pem: str, public_to_jwk: str, public_to_pem: str, key: Any
) -> None:
    private = _call(to_jwk, _pem(key))
    for name in private:
        without = {field: value for field, value in private.items() if field != name}
        bad = [without, {**private, name: 1}, {**private, name: "*"}, {**private, name: "AAAA"}]
        for jwk in bad:
            with pytest.raises(JsError, match=rf"^InternalError: {to_pem} failed"):
                _call(to_pem, jwk)
        if name in _call(public_to_jwk, _public(key)):
            with pytest.raises(JsError, match=rf"^InternalError: {public_to_pem} failed"):
                _call(public_to_pem, without)


# What is refused


@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_counts_and_kinds_are_type_errors(name: str) -> None:
    function = FUNCTIONS[name]
    most = len(function.parameters)
    for count in (*range(most - function.optional), most + 1):
        with pytest.raises(JsError, match=rf"^TypeError: Passed {count} arguments, but expected"):
            run(f"ccf.crypto.{name}({', '.join(['1'] * count)})")
    for odd in ("Symbol()", "() => 1", "1n", "new Uint8Array(1)", "[]", "true", "null"):
        with pytest.raises(JsError, match=r"^(TypeError|RangeError|InternalError): "):
            run(f"ccf.crypto.{name}({', '.join([odd] * (most - function.optional))})")


@pytest.mark.parametrize(
    "call",
    [
        "sign({ name: 'RSA-PKCS1', hash: 'SHA-256' }, '', new ArrayBuffer())",
        "sign({ name: 'ECDSA', hash: 'SHA-1' }, '', new ArrayBuffer())",
        "sign({}, '', new ArrayBuffer())",
        "sign({ name: 'ECDSA' }, '', new ArrayBuffer())",
        "verifySignature({ name: 'HMAC', hash: 'SHA-256' }, '', new ArrayBuffer(), new ArrayBuffer())",
        "verifySignature({ name: 'ECDSA', hash: 'SHA-384' }, '', new ArrayBuffer(), new ArrayBuffer())",
        "sign({ name: 'RSA-PSS', hash: 'SHA-256', saltLength: -1 }, '', new ArrayBuffer())",
        "generateAesKey(64)",
        "generateAesKey(0)",
        "generateRsaKeyPair(1024)",
        "generateRsaKeyPair(1e6)",
        "generateRsaKeyPair(2048, 4)",
        "generateEcdsaKeyPair('secp521r1')",
        "generateEddsaKeyPair('secp256r1')",
        "wrapKey(new ArrayBuffer(1), new ArrayBuffer(16), { name: 'AES-GCM' })",
        "wrapKey(new ArrayBuffer(1), new ArrayBuffer(16), { name: 'RSA-OAEP-AES-KWP', aesKeySize: 64 })",
        "unwrapKey(new ArrayBuffer(1), new ArrayBuffer(16), {})",
        "digest('SHA-1', new ArrayBuffer())",
    ],
)
def test_what_is_not_offered_is_a_range_error(call: str) -> None:
    with pytest.raises(JsError, match=r"^RangeError: "):
        run(f"ccf.crypto.{call}")


@pytest.mark.parametrize(
    "call",
    [
        "sign({ name: 'ECDSA', hash: 'SHA-256' }, rsa, new ArrayBuffer())",
        "sign({ name: 'RSA-PSS', hash: 'SHA-256' }, x25519, new ArrayBuffer())",
        "sign({ name: 'RSA-PSS', hash: 'SHA-512', saltLength: 1e9 }, rsa, new ArrayBuffer())",
        "sign({ name: 'EdDSA' }, x25519, new ArrayBuffer())",
        "sign({ name: 'EdDSA' }, 'no key', new ArrayBuffer())",
        "verifySignature({ name: 'EdDSA' }, 'no key', new ArrayBuffer(), new ArrayBuffer())",
        "verifySignature({ name: 'ECDSA', hash: 'SHA-256' }, rsa, new ArrayBuffer(), new ArrayBuffer())",
        "wrapKey(new ArrayBuffer(1), new ArrayBuffer(15), { name: 'AES-KWP' })",
        "wrapKey(new ArrayBuffer(0), new ArrayBuffer(16), { name: 'AES-KWP' })",
        "wrapKey(new ArrayBuffer(1000), ccf.strToBuf(public_), { name: 'RSA-OAEP' })",
        "wrapKey(new ArrayBuffer(1), ccf.strToBuf('no key'), { name: 'RSA-OAEP' })",
        "pubPemToJwk('invalid_pem')",
        "pemToJwk(rsa)",
        "rsaPemToJwk(public_)",
        "jwkToPem({})",
        "jwkToPem([])",
    ],
)
def test_what_a_key_cannot_do_is_an_internal_error(call: str) -> None:
    keys = [_pem(RSA), _public(RSA), _pem(x25519.X25519PrivateKey.generate())]
    with pytest.raises(JsError, match=r"^(InternalError|TypeError): ") as caught:
        run(f"const [rsa, public_, x25519] = args; ccf.crypto.{call}", keys)
    assert "PRIVATE" not in caught.value.reason


def test_a_label_must_be_a_buffer() -> None:
    with pytest.raises(JsError, match=r"^TypeError: "):
        run("ccf.crypto.wrapKey(args[0], args[1], { name: 'RSA-OAEP', label: 'x' })", [b"k", _public(RSA).encode()])


def test_getters_of_an_algorithm_may_throw() -> None:
    with pytest.raises(JsError, match="Error: mine"):
        run("ccf.crypto.sign({ get name() { throw new Error('mine') } }, '', new ArrayBuffer())")
