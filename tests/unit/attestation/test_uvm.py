"""Endorsements of utility VMs: real ones, and every check on endorsements of our own (ledger-format.md 8.7)."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from dataplane.attestation.uvm import (
    DEFAULT_ROOTS,
    UnverifiedEndorsements,
    UvmCheck,
    UvmEndorsements,
    verify_uvm_endorsements,
)
from dataplane.crypto.cose import decode_sign1, encode_sign1
from tests.support.snp import EKU, MEASUREMENT, NOW, Key, builder_chain, did, elliptic_key, endorse, rsa_key
from tests.support.vectors import require_vectors

KEY = rsa_key("leaf")
CHAIN = builder_chain(KEY)
ROOTS = [UvmEndorsements(did(CHAIN), "Feed", "7")]
GOOD: Mapping[str, object] = {
    "x-ms-sevsnpvm-launchmeasurement": MEASUREMENT.hex(),
    "x-ms-sevsnpvm-guestsvn": "8",
    "x-ms-sevsnpvm-guestsvn-int": 8,
}
_REAL = {
    "rsa_test1": (
        "02c3b0d5bf1d256fa4e3b5deefc07b55ff2f7029085ed350f60959140a1a51f1310753ba5ab2c03a0536b1c0c193af47",
        0,
        "100",
    ),
    "ecdsa_test1": (
        "1b66347ceafca663690ff17ed2144b8acdee661edc5d28e69a7c85dde7ba0c3a6f9862096e8b38da7aa622ddeed75c37",
        1,
        "1",
    ),
    "int_svn": (
        "d0c9e2be22046e60779be88868cff64c2aa22047c15d3127ba495cee3fbc2854c5633f9da2096e6c64ae2b69bbff8082",
        0,
        "102",
    ),
    "uvm_0.2.9": (
        "d0c9e2be22046e60779be88868cff64c2aa22047c15d3127ba495cee3fbc2854c5633f9da2096e6c64ae2b69bbff8082",
        0,
        "103",
    ),
}


def _real(name: str) -> bytes:
    return (require_vectors() / "snp" / f"{name}.cose").read_bytes()


def _refused(check: UvmCheck, data: bytes, measurement: bytes = MEASUREMENT) -> str:
    with pytest.raises(UnverifiedEndorsements) as caught:
        verify_uvm_endorsements(data, measurement, ROOTS)
    assert caught.value.check is check, caught.value
    return str(caught.value)


@pytest.mark.parametrize("name", _REAL)
def test_real_endorsements_verify_against_the_built_in_roots(name: str) -> None:
    measurement, root, svn = _REAL[name]
    found = verify_uvm_endorsements(_real(name), bytes.fromhex(measurement), DEFAULT_ROOTS)
    assert (found.did, found.feed, found.svn) == (DEFAULT_ROOTS[root].did, DEFAULT_ROOTS[root].feed, svn)
    others = [DEFAULT_ROOTS[1 - root], UvmEndorsements(found.did, f"Malicious-{found.feed}", "1")]
    with pytest.raises(UnverifiedEndorsements, match=f"svn {svn} match no known root of trust"):
        verify_uvm_endorsements(_real(name), bytes.fromhex(measurement), others)
    with pytest.raises(UnverifiedEndorsements) as caught:
        verify_uvm_endorsements(_real(name), bytes(48), DEFAULT_ROOTS)
    assert caught.value.check is UvmCheck.MEASUREMENT


@pytest.mark.parametrize(
    "key", [KEY, elliptic_key("leaf"), ec.generate_private_key(ec.SECP384R1())], ids=["RSA", "P-384", "another P-384"]
)
def test_both_kinds_of_signature_are_taken(key: Key) -> None:
    chain = builder_chain(key)
    found = verify_uvm_endorsements(endorse(key, chain, GOOD), MEASUREMENT, ROOTS)
    assert found == UvmEndorsements(did(chain), "Feed", "8")


def test_certificates_that_have_expired_still_count() -> None:
    chain = builder_chain(KEY, days=1, start=NOW - timedelta(days=400))
    assert verify_uvm_endorsements(endorse(KEY, chain, GOOD), MEASUREMENT, ROOTS).svn == "8"


@pytest.mark.parametrize("without", [1, 3, 33, "iss", "feed"])
def test_every_header_is_needed(without: int | str) -> None:
    _refused(UvmCheck.ENCODING, endorse(KEY, CHAIN, GOOD, without=without))


@pytest.mark.parametrize(
    "headers",
    [{1: "PS384"}, {3: 50}, {33: "x"}, {33: [1]}, {33: {}}, {"iss": b"did"}, {"feed": 1}, {1: None}, {33: None}],
)
def test_headers_of_other_types_are_refused(headers: Mapping[int | str, object]) -> None:
    _refused(UvmCheck.ENCODING, endorse(KEY, CHAIN, GOOD, {"iss": did(CHAIN), **headers}))


def test_what_is_no_message_is_refused() -> None:
    good = endorse(KEY, CHAIN, GOOD)
    protected, unprotected, payload, signature = cbor2.loads(good).value
    for data in (
        b"",
        b"x",
        good[:-1],
        good + b"1",
        good[1:],
        cbor2.dumps(cbor2.CBORTag(17, [protected, unprotected, payload, signature])),
        cbor2.dumps(cbor2.CBORTag(18, [protected, unprotected, payload])),
        cbor2.dumps(cbor2.CBORTag(18, [protected, unprotected, "text", signature])),
    ):
        _refused(UvmCheck.ENCODING, data)


@pytest.mark.parametrize("algorithm", [True, 0, -8, -257, -37 - 3, 5, -65535])
def test_other_algorithms_are_refused(algorithm: int) -> None:
    _refused(UvmCheck.ALGORITHM, endorse(KEY, CHAIN, GOOD, {1: algorithm}))


@pytest.mark.parametrize("algorithm", [-37, -39, -7, -35, -36])
def test_the_algorithm_is_the_one_that_signed(algorithm: int) -> None:
    _refused(UvmCheck.SIGNATURE, endorse(KEY, CHAIN, GOOD, {1: algorithm}))


def test_the_first_certificates_key_signed() -> None:
    _refused(UvmCheck.SIGNATURE, endorse(rsa_key("stranger"), CHAIN, GOOD))
    _refused(UvmCheck.SIGNATURE, endorse(elliptic_key("stranger"), builder_chain(elliptic_key("leaf")), GOOD))
    message = decode_sign1(endorse(KEY, CHAIN, GOOD))
    detached = encode_sign1(message.protected_bytes, {}, None, message.signature)
    _refused(UvmCheck.SIGNATURE, detached)
    other = encode_sign1(message.protected_bytes, {}, (message.payload or b"") + b" ", message.signature)
    _refused(UvmCheck.SIGNATURE, other)


def test_small_rsa_keys_sign_nothing() -> None:
    small = rsa.generate_private_key(65537, 1024)
    _refused(UvmCheck.SIGNATURE, endorse(small, builder_chain(small), GOOD))


def test_an_issuer_that_the_chain_does_not_show_is_refused() -> None:
    stranger = did([b"another certificate"])
    _refused(UvmCheck.DID, endorse(KEY, CHAIN, GOOD, {"iss": stranger}))
    _refused(UvmCheck.DID, endorse(KEY, CHAIN, GOOD, {33: CHAIN[0], "iss": did(CHAIN)}))
    _refused(UvmCheck.DID, endorse(KEY, CHAIN, GOOD, {33: [], "iss": did(CHAIN)}))
    _refused(UvmCheck.DID, endorse(KEY, CHAIN, GOOD, {"iss": did(CHAIN, f"eku:{EKU}.2")}))


def test_the_payload_is_json() -> None:
    _refused(UvmCheck.CONTENT_TYPE, endorse(KEY, CHAIN, GOOD, {3: "application/cbor"}))
    for payload in (b"", b"{", b"\xff", b"[" * 100_000, [], "text", None, {}, {**GOOD, "x-ms-sevsnpvm-guestsvn": None}):
        _refused(UvmCheck.PAYLOAD, endorse(KEY, CHAIN, payload))
    _refused(UvmCheck.PAYLOAD, endorse(KEY, CHAIN, {**GOOD, "x-ms-sevsnpvm-launchmeasurement": 1}))


@pytest.mark.parametrize(
    "svn", ["", "x", "-8", " 8", "8x", "8.0", "٨", "1" * 21, str(2**64), -8, 8.0, True, None, [], 2**64]
)
def test_a_version_is_an_unsigned_integer(svn: object) -> None:
    _refused(UvmCheck.PAYLOAD, endorse(KEY, CHAIN, {**GOOD, "x-ms-sevsnpvm-guestsvn": svn}))


def test_a_version_of_thousands_of_digits_is_refused() -> None:
    payload = b'{"x-ms-sevsnpvm-launchmeasurement":"","x-ms-sevsnpvm-guestsvn":1' + b"0" * 5000 + b"}"
    _refused(UvmCheck.PAYLOAD, endorse(KEY, CHAIN, payload))


@pytest.mark.parametrize("measurement", ["", MEASUREMENT.hex().upper(), MEASUREMENT.hex()[:-2], bytes(48).hex()])
def test_the_measurement_is_that_of_the_report(measurement: str) -> None:
    payload = {**GOOD, "x-ms-sevsnpvm-launchmeasurement": measurement}
    _refused(UvmCheck.MEASUREMENT, endorse(KEY, CHAIN, payload))


@pytest.mark.parametrize(
    ("root", "svn", "taken"),
    [
        ("7", "7", True),
        ("7", 7, True),
        ("7", "10", True),
        ("7", "0007", True),
        ("0", "0", True),
        ("7", "6", False),
        ("10", "9", False),
        ("", "9", False),
        ("x", "9", False),
        ("-1", "9", False),
    ],
)
def test_versions_are_compared_as_numbers(root: str, svn: object, taken: bool) -> None:
    data = endorse(KEY, CHAIN, {**GOOD, "x-ms-sevsnpvm-guestsvn": svn})
    roots = [UvmEndorsements("did:x509:0:other", "Feed", "0"), UvmEndorsements(did(CHAIN), "Feed", root)]
    if taken:
        assert verify_uvm_endorsements(data, MEASUREMENT, roots).svn == str(svn)
        return
    with pytest.raises(UnverifiedEndorsements) as caught:
        verify_uvm_endorsements(data, MEASUREMENT, roots)
    assert caught.value.check is UvmCheck.ROOT_OF_TRUST


def test_issuer_and_feed_must_be_those_of_one_root() -> None:
    data = endorse(KEY, CHAIN, GOOD)
    own = did(CHAIN)
    for roots in ([], [UvmEndorsements(own, "Other", "1"), UvmEndorsements(own + "x", "Feed", "1")]):
        with pytest.raises(UnverifiedEndorsements) as caught:
            verify_uvm_endorsements(data, MEASUREMENT, roots)
        assert caught.value.check is UvmCheck.ROOT_OF_TRUST


def test_every_check_has_a_test() -> None:
    source = Path(__file__).read_text()
    assert [check for check in UvmCheck if f"UvmCheck.{check.name}" not in source] == []
