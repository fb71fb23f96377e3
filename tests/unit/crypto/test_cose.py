"""COSE_Sign1: byte-exact headers, strict decoding, and no signature accepted that is not one."""

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.crypto.cose import (
    ALG,
    CWT_CLAIMS,
    KID,
    VDS,
    CoseDecodeError,
    Sign1,
    algorithm_of,
    decode_cbor,
    decode_sign1,
    encode_sign1,
    sign1,
    verify_sign1,
)

KEY = ec.generate_private_key(ec.SECP384R1())
KEYS = {curve: ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())}


def message(payload: bytes = b"payload", *, detached: bool = False) -> Sign1:
    return decode_sign1(sign1(KEY, [(ALG, algorithm_of(KEY)), ("text", 1)], payload, detached=detached))


def test_the_header_of_a_real_ledger_signature() -> None:
    """ledger-format.md 10.4, byte by byte."""
    real = bytes.fromhex(
        "a50138220458406164336434306437646130306334626533633735383061623962306665393163376234"
        "64653933323265393962363638306365636538653036323962643861"
        "6519018b020fa3061a6900f210"
        "0173736572766963652e6578616d706c652e636f6d02706c65646765722e7369676e6174757265"
        "666363662e7631a1647478696464322e3230"
    )
    protected = [
        (ALG, -35),
        (KID, real[7:71]),
        (VDS, 2),
        (CWT_CLAIMS, {6: 0x6900F210, 1: "service.example.com", 2: "ledger.signature"}),
        ("ccf.v1", {"txid": "2.20"}),
    ]
    assert decode_sign1(sign1(KEY, protected, b"root", detached=True)).protected_bytes == real


@pytest.mark.parametrize("curve", KEYS, ids=lambda curve: curve.name)
def test_signatures_hold_under_their_key_only(curve: ec.EllipticCurve) -> None:
    key = KEYS[curve]
    signed = decode_sign1(sign1(key, [(ALG, algorithm_of(key))], b"payload"))
    assert verify_sign1(signed, key.public_key())
    for other in (*(k for k in KEYS.values() if k is not key), ec.generate_private_key(curve)):
        assert not verify_sign1(signed, other.public_key())


def test_detached_payloads() -> None:
    signed = message(detached=True)
    assert signed.payload is None
    assert verify_sign1(signed, KEY.public_key(), b"payload")
    assert not verify_sign1(signed, KEY.public_key(), b"another")
    assert not verify_sign1(signed, KEY.public_key())


def test_an_attached_payload_cannot_be_replaced() -> None:
    assert verify_sign1(message(), KEY.public_key(), b"payload")
    assert not verify_sign1(message(), KEY.public_key(), b"another")


def test_changed_messages_do_not_verify() -> None:
    good = message()
    padded = good.signature[:48] + b"\0" + good.signature[48:]  # the same two numbers
    changed = [
        Sign1(good.protected, good.protected_bytes + b"\0", {}, good.payload, good.signature),
        Sign1(good.protected, good.protected_bytes, {}, b"another", good.signature),
        Sign1(good.protected, good.protected_bytes, {}, good.payload, good.signature[::-1]),
        Sign1(good.protected, good.protected_bytes, {}, good.payload, good.signature[:-1]),
        Sign1(good.protected, good.protected_bytes, {}, good.payload, padded),
        Sign1(good.protected, good.protected_bytes, {}, good.payload, bytes(96)),
        Sign1(good.protected, good.protected_bytes, {}, good.payload, b"\xff" * 96),
        Sign1({ALG: -7}, good.protected_bytes, {}, good.payload, good.signature),
        Sign1({}, good.protected_bytes, {}, good.payload, good.signature),
    ]
    assert not any(verify_sign1(bad, KEY.public_key()) for bad in changed)


def test_unsupported_curves_have_no_algorithm() -> None:
    key = ec.generate_private_key(ec.SECP256K1())
    with pytest.raises(ValueError, match="secp256k1"):
        algorithm_of(key)
    assert not verify_sign1(message(), key.public_key())


def test_messages_are_written_again_bit_for_bit() -> None:
    raw = sign1(KEY, [(ALG, -35)], b"payload")
    signed = decode_sign1(raw)
    assert encode_sign1(signed.protected_bytes, signed.unprotected, signed.payload, signed.signature) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xd2",
        cbor2.dumps([b"", {}, b"", b""]),  # no tag
        cbor2.dumps(cbor2.CBORTag(17, [b"", {}, b"", b""])),
        cbor2.dumps(cbor2.CBORTag(18, [b"", {}, b""])),
        cbor2.dumps(cbor2.CBORTag(18, [b"", {}, b"", b"", b""])),
        cbor2.dumps(cbor2.CBORTag(18, ["", {}, b"", b""])),
        cbor2.dumps(cbor2.CBORTag(18, [b"", [], b"", b""])),
        cbor2.dumps(cbor2.CBORTag(18, [b"", {}, "text", b""])),
        cbor2.dumps(cbor2.CBORTag(18, [b"", {}, b"", None])),
        cbor2.dumps(cbor2.CBORTag(18, [b"\x01", {}, b"", b""])),  # the header is no map
        cbor2.dumps(cbor2.CBORTag(18, [b"\xa1", {}, b"", b""])),  # the header is cut off
        cbor2.dumps(cbor2.CBORTag(18, [b"\xa2\x01\x26\x01\x26", {}, b"", b""])),  # a label twice
        cbor2.dumps(cbor2.CBORTag(18, [b"", {}, b"", b""])) + b"\x00",
        b"\xd2" * 10_000,
        b"\x81" * 100_000,
        b"\x9f" * 100,
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xd8\x1e\x82\x01\x00",  # a fraction over zero
    ],
)  # fmt: skip
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(CoseDecodeError):
        decode_sign1(raw)


def test_an_empty_protected_header_is_a_map() -> None:
    assert decode_sign1(cbor2.dumps(cbor2.CBORTag(18, [b"", {}, b"", b""]))).protected == {}
    assert decode_cbor(b"\xa0") == {}
