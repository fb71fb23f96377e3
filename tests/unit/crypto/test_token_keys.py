"""Keys from JWKs: the three forms and their order, both base64 alphabets, and what is no key."""

from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from dataplane.crypto.keys import public_pem, spki_der
from dataplane.crypto.token_keys import InvalidJwk, decode_base64, load_signing_key, public_key_of_jwk
from tests.support.tokens import Issuer, elliptic_issuer, rsa_key

RSA, EC = Issuer(), elliptic_issuer()


@pytest.mark.parametrize("issuer", [RSA, EC], ids=["RSA", "EC"])
@pytest.mark.parametrize("form", ["raw", "x5c"])
def test_each_form_gives_the_key(issuer: Issuer, form: str) -> None:
    assert public_pem(public_key_of_jwk(issuer.jwk(form=form))) == issuer.public_pem


def test_raw_numbers_go_before_a_certificate() -> None:
    both = {**Issuer(key=rsa_key("second")).jwk(form="x5c"), **RSA.jwk()}
    assert public_pem(public_key_of_jwk(both)) == RSA.public_pem


def test_rsa_numbers_go_before_a_point() -> None:
    assert public_pem(public_key_of_jwk({**EC.jwk(), **RSA.jwk()})) == RSA.public_pem


@pytest.mark.parametrize("name", ["P-256", "P-384", "P-521", "secp256k1"])
def test_the_curves(name: str) -> None:
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "secp256k1": ec.SECP256K1()}
    key = ec.generate_private_key(curves[name]).public_key()
    numbers, size = key.public_numbers(), (key.key_size + 7) // 8
    point = {axis: urlsafe_b64encode(getattr(numbers, axis).to_bytes(size, "big")).decode() for axis in "xy"}
    assert spki_der(public_key_of_jwk({"crv": name, **point})) == spki_der(key)


@pytest.mark.parametrize("text", ["-_-_", "+/+/", "-_8", "-_8=", "+/8="])
def test_both_alphabets_with_and_without_padding(text: str) -> None:
    assert decode_base64(text)[:1] == b"\xfb"


@pytest.mark.parametrize("text", ["a", "a!!!", "é", 5, None, "ab cd", "\ud800"])
def test_what_is_no_base64(text: object) -> None:
    with pytest.raises(InvalidJwk):
        decode_base64(text)


SPKI = b64encode(spki_der(rsa_key().public_key())).decode()


@pytest.mark.parametrize(
    ("jwk", "reason"),
    [
        ({}, "neither an RSA key"),
        ({"x5c": []}, "neither an RSA key"),
        ({"x": "AA", "y": "AA"}, "neither an RSA key"),
        ({"n": "AQ", "e": "AQAB"}, "RSA key of 1 bits"),
        ({"n": "A" * 344, "e": "AQAB"}, "RSA key of 0 bits"),
        ({"n": "_" * 343, "e": "AA"}, "cannot be used"),
        ({"n": "_" * 20000, "e": "AQAB"}, "RSA key of 120000 bits"),
        ({"x": "AQ", "y": "AQ", "crv": "P-256"}, "not on P-256"),
        ({"x": "AQ", "y": "AQ", "crv": "P-257"}, "none of"),
        ({"x": "AQ", "y": "AQ", "crv": ["P-256"]}, "none of"),
        ({"x5c": ["AAAA"]}, "no X.509 certificate"),
        ({"x5c": [SPKI]}, "no X.509 certificate"),
        ({"x5c": [7]}, "no base64 text"),
    ],
)  # fmt: skip
def test_what_is_no_key(jwk: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidJwk, match=reason):
        public_key_of_jwk(jwk)


def test_a_certificate_of_another_kind_of_key_is_refused() -> None:
    der = spki_der(ed25519.Ed25519PrivateKey.generate().public_key())  # type: ignore[arg-type]
    with pytest.raises(InvalidJwk, match="neither RSA"):
        load_signing_key(der)


def test_a_short_rsa_key_is_refused() -> None:
    der = spki_der(rsa.generate_private_key(65537, 1024).public_key())
    with pytest.raises(InvalidJwk, match="2048"):
        load_signing_key(der)
    with pytest.raises(InvalidJwk, match="no public key"):
        load_signing_key(der[:-1])
