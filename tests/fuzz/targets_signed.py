"""What is believed for its signature: COSE envelopes, certificates, tokens and their keys, receipts.

Each is judged besides by what it may prove: a mutant that passes must say what its maker signed.
"""

import json
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from dataplane.api.auth import Peer, Unauthenticated, authenticate
from dataplane.apps.endpoint import Request
from dataplane.crypto.certs import (
    InvalidCertificate,
    InvalidValidFrom,
    certificate_pem,
    csr_public_key,
    endorse_node_csr,
    is_authority,
    is_issued_by,
    load_certificate,
    parse_subject,
    parse_valid_from,
    public_key_of,
)
from dataplane.crypto.cose import CoseDecodeError, decode_sign1, verify_sign1
from dataplane.crypto.jwt import InvalidToken, is_signed_by, parse_token
from dataplane.crypto.keys import PublicKey, load_public_key
from dataplane.crypto.token_keys import SigningKey
from dataplane.governance.jwt import InvalidKeySet, set_signing_keys, token_keys
from dataplane.kv.store import Store
from dataplane.ledger.endorsement_chain import InvalidEndorsement, read_endorsement
from dataplane.receipt import InvalidReceipt, verify_receipt
from dataplane.receipt_cose import verify_cose_receipt
from tests.fuzz.corpus import examples, facts
from tests.fuzz.harness import FalselyVerified, Target
from tests.fuzz.mutate import mutate, mutate_json

# COSE


@cache
def _envelope_key() -> PublicKey:
    return load_public_key(facts("envelope key"))


@cache
def _signed_envelopes() -> frozenset[tuple[bytes, bytes | None]]:
    """What was signed; the detached example is over an empty payload."""
    return frozenset(
        (message.protected_bytes, message.payload or b"") for message in map(decode_sign1, examples("envelopes"))
    )


def _cose(data: bytes) -> object:
    message = decode_sign1(data)
    claimed = message.protected_bytes, message.payload
    if verify_sign1(message, _envelope_key()) and claimed not in _signed_envelopes():
        raise FalselyVerified("an envelope verifies that nobody signed")
    with suppress(InvalidEndorsement):
        read_endorsement(data)
    return message


def _cose_mutant(random: Random) -> bytes:
    tokens = (b"\xd2\x84", b"\x9f", b"\xff", b"\xf6", b"\xa0", b"\x5f", b"\xdb" + b"\xff" * 8)
    return mutate(examples("envelopes"), tokens, random)


# Certificates


@cache
def _certificate_seeds() -> list[bytes]:
    texts = [b"CN=CCF Node,O=Contoso", b"20300102030405Z", b"2030-01-02 03:04:05.5 +01:00"]
    return [*examples("certificates") * 2, *examples("requests"), *texts]


def _certificate(data: bytes) -> object:
    text = data.decode("latin-1")
    readers: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: parse_subject(text), InvalidCertificate),
        (lambda: parse_valid_from(text), InvalidValidFrom),
        (lambda: csr_public_key(text), InvalidCertificate),
        (lambda: _endorsed(text), InvalidCertificate),
    ]
    for read, refusal in readers:
        with suppress(refusal):
            read()
    _as_a_client(data)
    certificate = load_certificate(data)
    is_authority(certificate), certificate_pem(certificate), public_key_of(certificate)
    issued = is_issued_by(certificate, load_certificate(facts("endorsing certificate")))
    if issued and certificate.public_bytes(Encoding.DER) not in examples("certificates"):
        raise FalselyVerified("a certificate passes for endorsed that the service never made")
    return certificate


def _as_a_client(der: bytes) -> None:
    """Whatever a client shows, the answer is who it is, or 401."""
    peer = Peer(der, sha256(der).hexdigest())
    for policy in ("any_cert", "user_cert", "member_cert", "node_cert"):
        with suppress(Unauthenticated):
            authenticate((policy,), Store().begin(), _REQUEST, peer, lambda: _NOW)


_REQUEST = Request("GET", "/app/x", "/app/x", "", {}, b"")
_NOW = datetime(2030, 6, 2, tzinfo=UTC)


def _endorsed(csr: str) -> str:
    """What a service makes of a request that a joiner sends."""
    begin = parse_valid_from("20300601000000Z")
    return endorse_node_csr(_some_key(), facts("endorsing certificate"), csr, 9, begin, 30)


@cache
def _some_key() -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(7, ec.SECP384R1())


def _certificate_mutant(random: Random) -> bytes:
    tokens = (b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----\n", b"\x30\x82", b"\x06\x03U", b"+", b",")
    return mutate(_certificate_seeds(), tokens, random)


# Tokens


@cache
def _token_keys() -> list[SigningKey]:
    keys: list[Any] = [load_pem_public_key(pem.encode()) for pem in facts("token keys")]
    return keys


@cache
def _signed_tokens() -> frozenset[bytes]:
    return frozenset(token.rpartition(b".")[0] for token in examples("tokens"))


def _token(data: bytes) -> object:
    token = parse_token(data.decode("latin-1"))
    for key in _token_keys():
        if is_signed_by(token, key) and token.signed not in _signed_tokens():
            raise FalselyVerified("a token verifies that its issuer never signed")
    return token


def _token_mutant(random: Random) -> bytes:
    """The text of a token, or one whose parts were changed before they were encoded."""
    if random.random() < 0.4:
        return mutate(examples("tokens"), (b".", b"=", b"-", b"_", b"e30", b"bnVsbA"), random)
    header, payload, signature = random.choice(examples("tokens")).split(b".")
    changed = [mutate([_from_base64(header)], _JSON, random), mutate([_from_base64(payload)], _JSON, random)]
    if random.random() < 0.5:
        changed[random.randrange(2)] = mutate_json([json.loads(_from_base64(payload))], random)
    return b".".join((*(b64encode(part, b"-_").rstrip(b"=") for part in changed), signature))


_JSON = (
    b'"alg":"none"',
    b'"RS256"',
    b'"ES256"',
    b'"HS256"',
    b"{",
    b"[" * 300,
    b"1e999",
    b"NaN",
    b'"\\ud800"',
    b"9" * 5000,
)


def _from_base64(part: bytes) -> bytes:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _key_set(data: bytes) -> object:
    """What is stored can be read back as keys; a constraint lies within the issuer's domain."""
    tx = Store().begin()
    document = json.loads(data)
    set_signing_keys(tx, "https://example.issuer", document)
    for key in document["keys"]:
        for stored in token_keys(tx, key["kid"]):
            assert stored.constraint is None or "issuer" in stored.constraint.lower()
    return document


def _key_set_mutant(random: Random) -> bytes:
    return mutate_json(facts("key sets"), random)


# Receipts


@cache
def _proven() -> frozenset[tuple[object, ...]]:
    return frozenset(_facts(verify_receipt(receipt, facts("ledger certificate"))) for receipt in facts("receipts"))


def _facts(verified: Any) -> tuple[object, ...]:
    return verified.txid, verified.claims_digest, verified.root, verified.node_id


def _receipt(data: bytes) -> object:
    document = json.loads(data)
    if not isinstance(document, dict):
        raise InvalidReceipt("no object")
    verified = verify_receipt(document, facts("ledger certificate"))
    if _facts(verified) not in _proven():
        raise FalselyVerified(f"a receipt proves {verified}, which is not in the ledger")
    return verified


def _receipt_mutant(random: Random) -> bytes:
    if random.random() < 0.5:
        return mutate_json(facts("receipts"), random)
    return mutate(
        [json.dumps(receipt).encode() for receipt in facts("receipts")], (b'"leaf"', b'"left"', b"null", b"[]"), random
    )


@cache
def _cose_proven() -> tuple[object, ...]:
    return _facts(verify_cose_receipt(examples("COSE receipts")[0], facts("snapshot certificate")))


def _cose_receipt(data: bytes) -> object:
    verified = verify_cose_receipt(data, facts("snapshot certificate"))
    if _facts(verified) != _cose_proven():
        raise FalselyVerified(f"a COSE receipt proves {verified}, which is not in the ledger")
    return verified


def _cose_receipt_mutant(random: Random) -> bytes:
    return mutate([examples("COSE receipts")[0]], (b"\xf5", b"\xf4", b"\x58\x20", b"\x82", b"ce:2.5:"), random)


TARGETS = (
    Target("cose", _cose_mutant, _cose, (CoseDecodeError,), weight=90),
    Target("certificates", _certificate_mutant, _certificate, (InvalidCertificate,), weight=70),
    Target("tokens", _token_mutant, _token, (InvalidToken,), weight=90),
    Target("key sets", _key_set_mutant, _key_set, (InvalidKeySet,), weight=40),
    Target("receipts", _receipt_mutant, _receipt, (InvalidReceipt, ValueError), weight=60),
    Target("COSE receipts", _cose_receipt_mutant, _cose_receipt, (InvalidReceipt,), weight=60),
)
