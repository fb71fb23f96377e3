"""Tokens: PyJWT signs, we check; and every way a token can be malformed."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.crypto.jwt import InvalidToken, is_signed_by, parse_token
from tests.support.tokens import Issuer, elliptic_issuer, rsa_key

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RSA, EC = Issuer(), elliptic_issuer()


def _raw(part: bytes) -> str:
    return urlsafe_b64encode(part).decode().rstrip("=")


def _token(header: Any, payload: Any, signature: str = "AA") -> str:
    return ".".join((_raw(json.dumps(header).encode()), _raw(json.dumps(payload).encode()), signature))


def _parts(header: bytes) -> str:
    return f"{_raw(header)}.{_raw(b'{}')}.AA"


HEADER = {"alg": "RS256", "kid": "kid"}
PAYLOAD = {"exp": 2_000_000_000, "iss": "i"}


@pytest.mark.parametrize("issuer", [RSA, EC], ids=["RS256", "ES256"])
def test_a_token_is_checked_with_its_key_and_no_other(issuer: Issuer) -> None:
    token = parse_token(issuer.token(now=NOW, tid="t"))
    assert (token.kid, token.issuer, token.tenant, token.algorithm) == ("kid", issuer.name, "t", issuer.algorithm)
    assert (token.not_before_s, token.expires_s) == (int(NOW.timestamp()) - 10, int(NOW.timestamp()) + 3600)
    assert is_signed_by(token, issuer.key.public_key())
    others = [rsa_key("second"), ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())]
    assert not any(is_signed_by(token, key.public_key()) for key in others)


@pytest.mark.parametrize("issuer", [RSA, EC], ids=["RS256", "ES256"])
def test_one_changed_bit_anywhere_is_noticed(issuer: Issuer) -> None:
    header, payload, signature = issuer.token(now=NOW).split(".")
    for index in range(0, len(payload), 7):
        changed = payload[:index] + ("A" if payload[index] != "A" else "B") + payload[index + 1 :]
        try:
            token = parse_token(f"{header}.{changed}.{signature}")
        except InvalidToken:
            continue
        assert not is_signed_by(token, issuer.key.public_key())
    assert not is_signed_by(parse_token(f"{header}.{payload}.{signature[4:]}"), issuer.key.public_key())


def test_an_algorithm_that_is_not_the_keys_is_refused() -> None:
    header, payload, signature = RSA.token(now=NOW).split(".")
    renamed = _raw(json.dumps({"alg": "ES256", "kid": "kid"}).encode())
    assert not is_signed_by(parse_token(f"{renamed}.{payload}.{signature}"), RSA.key.public_key())
    assert not is_signed_by(parse_token(f"{header}.{payload}.{signature}"), EC.key.public_key())


def test_times_may_be_fractions_and_count_in_whole_seconds() -> None:
    assert parse_token(_token(HEADER, {"exp": 5.9, "iss": "i", "nbf": 4.2})).expires_s == 5
    assert parse_token(_token(HEADER, {"exp": 5, "iss": "i"})).not_before_s is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("garbage", "Malformed JWT"),
        ("a.b", "Malformed JWT"),
        ("a.b.c.d", "Malformed JWT"),
        ("..", "not valid JSON"),
        ("!.b.c", "Malformed JWT"),
        ("é.b.c", "Malformed JWT"),
        (_token(HEADER, PAYLOAD, "!"), "Malformed JWT"),
        (_token(HEADER, PAYLOAD, "A"), "Malformed JWT"),
        (_parts(b'{'), "not valid JSON"),
        (_parts(b'\xff'), "not valid JSON"),
        (_parts(b'[' * 9000), "nests too deep"),
        (_parts(b'9' * 5000), "not valid JSON"),
        (_token([], PAYLOAD), "not an object"),
        (_token(HEADER, "text"), "not an object"),
        (_token({"kid": "kid"}, PAYLOAD), "does not follow schema"),
        (_token({"alg": "none", "kid": "kid"}, PAYLOAD), "does not follow schema"),
        (_token({"alg": "HS256", "kid": "kid"}, PAYLOAD), "does not follow schema"),
        (_token({"alg": ["RS256"], "kid": "kid"}, PAYLOAD), "does not follow schema"),
        (_token({"alg": "RS256"}, PAYLOAD), "does not follow schema"),
        (_token({"alg": "RS256", "kid": 5}, PAYLOAD), "does not follow schema"),
        (_token(HEADER, {"iss": "i"}), "JWT payload is missing required field: exp"),
        (_token(HEADER, {"exp": 5}), "JWT payload is missing required field: iss"),
        (_token(HEADER, {"exp": 5, "iss": 5}), "JWT payload is missing required field: iss"),
        (_token(HEADER, {"exp": True, "iss": "i"}), "exp that is no time"),
        (_token(HEADER, {"exp": "5", "iss": "i"}), "exp that is no time"),
        (_token(HEADER, {"exp": -1, "iss": "i"}), "exp that is no time"),
        (_token(HEADER, {"exp": 1e300, "iss": "i"}), "exp that is no time"),
        (_token(HEADER, {"exp": float("nan"), "iss": "i"}), "not valid JSON"),
        (_token(HEADER, {"exp": 5, "iss": "i", "nbf": []}), "nbf that is no time"),
        (_token(HEADER, {"exp": 5, "iss": "i", "tid": 7}), "tid that is no text"),
    ],
)  # fmt: skip
def test_malformed_tokens_say_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(InvalidToken, match=reason):
        parse_token(text)
