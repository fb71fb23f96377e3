"""Authentication policies: order, combination, refusals and their challenges (node-api.md 3)."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from dataplane.api.auth import Peer, Unauthenticated, authenticate
from dataplane.apps.endpoint import AllOf, Identity, Policy, Request
from dataplane.crypto.certs import load_certificate, self_signed_client_certificate
from dataplane.crypto.cose import sign1
from dataplane.crypto.keys import cert_id, key_id
from dataplane.errors import InternalError
from dataplane.governance.jwt import set_signing_keys
from dataplane.kv.store import Store
from dataplane.kv.tables import MEMBERS_CERTS, MEMBERS_INFO, NODES_INFO, USERS_CERTS, USERS_INFO, put_json
from dataplane.kv.tx import Tx
from tests.support.tokens import ENTRA, TENANT, Issuer, elliptic_issuer, rsa_key

NOW = datetime(2030, 6, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP384R1())
CERT = self_signed_client_certificate(KEY, "CN=someone", 1, NOW - timedelta(days=1), 30)
ISSUER = Issuer()
JWT = 'Bearer realm="JWT bearer token access", error="invalid_token"'
COSE = 'COSE-SIGN1 realm="Signed request access"'


def _peer(cert: str = CERT) -> Peer:

    return Peer(load_certificate(cert).public_bytes(Encoding.DER), cert_id(cert))


def _user(tx: Tx, cert: str = CERT, data: object = None) -> str:
    user_id = cert_id(cert)
    tx.put(USERS_CERTS, user_id.encode(), cert.encode())
    if data is not None:
        put_json(tx, USERS_INFO, {"user_data": data}, user_id.encode())
    return user_id


@pytest.fixture
def tx() -> Tx:
    return Store().begin()


def _ask(
    tx: Tx,
    *policies: Policy,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    peer: Peer | None = None,
    now: datetime = NOW,
) -> Identity | None:
    request = Request("POST", "/app/x", "/app/x", "", headers or {}, body)
    return authenticate(policies, tx, request, peer or Peer(), lambda: now)


def _refusal(tx: Tx, *policies: Policy, **request: object) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        _ask(tx, *policies, **request)  # type: ignore[arg-type]
    assert caught.value.status == 401
    assert caught.value.message == "Invalid authentication credentials."
    return caught.value


def _reason(tx: Tx, *policies: Policy, **request: object) -> str:
    return str(_refusal(tx, *policies, **request).details[-1]["message"])


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _signed(payload: bytes = b'{"a":1}', key: ec.EllipticCurvePrivateKey = KEY, **changed: object) -> bytes:
    headers: dict[int | str, object] = {1: -35, 4: cert_id(CERT).encode(), **changed}
    return sign1(key, list(headers.items()), payload)


COSE_HEADERS = {"content-type": "application/cose"}


# Order and combination


def test_an_open_endpoint_has_no_caller(tx: Tx) -> None:
    assert _ask(tx) is None
    assert _ask(tx, "no_auth") == Identity("no_auth")


def test_the_first_policy_that_is_met_names_the_caller(tx: Tx) -> None:
    _user(tx, data={"role": "x"})
    caller = _ask(tx, "jwt", "user_cert", "any_cert", peer=_peer())
    assert caller is not None
    assert (caller.policy, caller.id, caller.data) == ("user_cert", cert_id(CERT), {"role": "x"})


def test_every_refusal_is_told_in_the_order_of_the_policies(tx: Tx) -> None:
    refusal = _refusal(tx, "user_cert", "jwt", "user_cose_sign1")
    assert [detail["auth_policy"] for detail in refusal.details] == ["user_cert", "jwt", "user_cose_sign1"]
    assert all(detail["code"] == "InvalidAuthenticationInfo" for detail in refusal.details)


@pytest.mark.parametrize(
    ("policies", "challenge"),
    [
        (("jwt", "user_cert"), None),
        (("user_cert", "jwt"), JWT),
        (("jwt", "user_cose_sign1"), COSE),
        (("member_cose_sign1:ack",), COSE),
        ((AllOf(("user_cert", "jwt")),), JWT),
        ((AllOf(("user_cert", "user_cose_sign1")),), None),
    ],
)
def test_the_challenge_is_that_of_the_last_policy(tx: Tx, policies: tuple[Policy, ...], challenge: str | None) -> None:
    assert _refusal(tx, *policies).challenge == challenge


def test_all_of_needs_every_part(tx: Tx) -> None:
    user_id = _user(tx)
    set_signing_keys(tx, ISSUER.name, ISSUER.jwks())
    policy = AllOf(("user_cert", "jwt"))
    caller = _ask(tx, policy, headers=_bearer(ISSUER.token(now=NOW)), peer=_peer())
    assert caller is not None
    assert sorted(caller.all_of) == ["jwt", "user_cert"]
    assert caller.all_of["user_cert"].id == user_id
    (detail,) = _refusal(tx, policy, peer=_peer()).details
    assert detail["auth_policy"] == "jwt+user_cert"
    assert detail["message"] == "jwt:Missing authorization header"


def test_all_of_falls_through_to_the_next_policy(tx: Tx) -> None:
    caller = _ask(tx, AllOf(("user_cert", "jwt")), "no_auth")
    assert caller == Identity("no_auth")


@pytest.mark.parametrize(
    "policies",
    [
        ("bogus",),
        ("no_auth", "bogus"),
        (AllOf(("no_auth", "bogus")),),
        (AllOf(()),),
        (AllOf(("no_auth", "no_auth")),),
        ("member_cose_sign1",),
        ("other_cose_sign1:ack",),
    ],
)
def test_an_unknown_policy_anywhere_is_a_fault_of_the_service(tx: Tx, policies: tuple[Policy, ...]) -> None:
    with pytest.raises(InternalError):
        _ask(tx, *policies)


# Certificates


def test_a_certificate_outside_of_its_validity(tx: Tx) -> None:
    _user(tx)
    before, after = NOW - timedelta(days=2), NOW + timedelta(days=31)
    for policy in ("user_cert", "any_cert"):
        assert "Not Before" in _reason(tx, policy, peer=_peer(), now=before)
        assert "Not After" in _reason(tx, policy, peer=_peer(), now=after)
        assert _reason(tx, policy) == "No caller certificate"


def test_no_leeway_at_the_end_of_a_certificate(tx: Tx) -> None:
    end = load_certificate(CERT).not_valid_after_utc
    assert _ask(tx, "any_cert", peer=_peer(), now=end) is not None
    assert "Not After" in _reason(tx, "any_cert", peer=_peer(), now=end + timedelta(seconds=1))


def test_a_members_certificate_counts_at_any_time_and_in_any_status(tx: Tx) -> None:
    tx.put(MEMBERS_CERTS, cert_id(CERT).encode(), CERT.encode())
    put_json(tx, MEMBERS_INFO, {"status": "Accepted", "member_data": 7}, cert_id(CERT).encode())
    caller = _ask(tx, "member_cert", peer=_peer(), now=NOW + timedelta(days=3000))
    assert caller is not None
    assert caller.data == 7


def test_a_certificate_nobody_registered(tx: Tx) -> None:
    assert _reason(tx, "user_cert", peer=_peer()) == "Could not find matching user certificate"
    assert _reason(tx, "member_cert", peer=_peer()) == "Could not find matching member certificate"
    assert _reason(tx, "node_cert", peer=_peer()) == "Could not find matching node certificate"
    caller = _ask(tx, "any_cert", peer=_peer())
    assert caller is not None
    assert caller.cert_pem == CERT


def test_a_node_is_known_by_its_key(tx: Tx) -> None:
    put_json(tx, NODES_INFO, {"status": "Trusted"}, key_id(KEY.public_key()).encode())
    caller = _ask(tx, "node_cert", peer=_peer())
    assert caller is not None
    assert caller.id == key_id(KEY.public_key())


def test_bytes_that_are_no_certificate_are_refused_not_feared(tx: Tx) -> None:
    peer = Peer(b"\x30\x03abc", "ab" * 32)
    for policy in ("any_cert", "node_cert"):
        assert "cannot be read" in _reason(tx, policy, peer=peer)


# COSE


def test_a_user_signs_the_body(tx: Tx) -> None:
    user_id = _user(tx, data=[1])
    caller = _ask(tx, "user_cose_sign1", headers=COSE_HEADERS, body=_signed(), now=NOW + timedelta(days=999))
    assert caller is not None
    assert (caller.policy, caller.id, caller.data, caller.cert_pem) == ("user_cose_sign1", user_id, [1], CERT)
    assert caller.cose is not None
    assert caller.cose.payload == b'{"a":1}'


def test_bodies_that_prove_no_user(tx: Tx) -> None:
    policy = "user_cose_sign1"
    assert "content-type" in _reason(tx, policy, body=_signed())
    assert "content-type" in _reason(tx, policy, headers={"content-type": "application/cose;v=1"}, body=_signed())
    assert _reason(tx, policy, headers=COSE_HEADERS, body=_signed()) == "Signer is not a known user"
    _user(tx)
    other = ec.generate_private_key(ec.SECP384R1())
    assert _reason(tx, policy, headers=COSE_HEADERS, body=_signed(key=other)) == "Signature is invalid"
    headers: list[tuple[int | str, object]] = [(1, -7), (4, cert_id(CERT).encode())]
    assert _reason(tx, policy, headers=COSE_HEADERS, body=sign1(KEY, headers, b"")) == "Signature is invalid"
    unsupported = sign1(KEY, [(1, -37), (4, b"x")], b"")
    assert _reason(tx, policy, headers=COSE_HEADERS, body=unsupported) == "Unsupported algorithm: -37"
    detached = sign1(KEY, [(1, -35), (4, cert_id(CERT).encode())], b"x", detached=True)
    assert _reason(tx, policy, headers=COSE_HEADERS, body=detached) == "Signature is invalid"


@pytest.mark.parametrize("body", [b"", b"garbage", sign1(KEY, [(1, -35)], b""), sign1(KEY, [(4, b"x")], b"")])
def test_an_envelope_that_cannot_be_decoded_is_a_500(tx: Tx, body: bytes) -> None:
    with pytest.raises(InternalError, match="decode COSE_Sign1"):
        _ask(tx, "user_cose_sign1", headers=COSE_HEADERS, body=body)


def test_a_user_whose_certificate_has_no_elliptic_key_cannot_sign(tx: Tx) -> None:

    der = Issuer(key=rsa.generate_private_key(65537, 2048)).certificate_der()
    tx.put(USERS_CERTS, cert_id(CERT).encode(), load_certificate(der).public_bytes(Encoding.PEM))
    assert _reason(tx, "user_cose_sign1", headers=COSE_HEADERS, body=_signed()) == "Signature is invalid"


# JWT


@pytest.mark.parametrize("issuer", [ISSUER, elliptic_issuer()], ids=["RS256", "ES256"])
def test_a_token_names_its_bearer(tx: Tx, issuer: Issuer) -> None:
    set_signing_keys(tx, issuer.name, issuer.jwks(issuer=issuer.name))
    caller = _ask(tx, "jwt", headers=_bearer(issuer.token(now=NOW, sub="alice")))
    assert caller is not None
    assert caller.jwt is not None
    assert (caller.policy, caller.id, caller.jwt.key_issuer) == ("jwt", None, issuer.name)
    assert caller.jwt.payload["sub"] == "alice"
    assert caller.jwt.header["kid"] == "kid"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "Missing authorization header"),
        ({"authorization": "Bearer"}, "only contains one field"),
        ({"authorization": "Basic abc"}, "does not have Bearer scheme"),
        ({"authorization": "Bearer garbage"}, "Malformed JWT"),
        (_bearer(ISSUER.token("unheard", now=NOW)), "JWT signing key not found for kid unheard"),
        (_bearer(Issuer(key=rsa_key("second")).token(now=NOW)), "Signature verification failed"),
        (_bearer(ISSUER.token(now=NOW, exp=None)), "JWT payload is missing required field"),
        (_bearer(ISSUER.token(now=NOW + timedelta(seconds=70))), "is before token's Not Before"),
        (_bearer(ISSUER.token(now=NOW - timedelta(hours=2))), "is after token's Expiration Time"),
        (_bearer(ISSUER.token(now=NOW, iss="https://other")), "failed issuer constraint validation"),
    ],
)
def test_tokens_that_prove_nobody(tx: Tx, headers: dict[str, str], reason: str) -> None:
    set_signing_keys(tx, ISSUER.name, ISSUER.jwks(issuer=ISSUER.name))
    assert reason in _reason(tx, "jwt", headers=headers)


def test_a_token_is_good_through_its_last_second(tx: Tx) -> None:
    set_signing_keys(tx, ISSUER.name, ISSUER.jwks())
    headers = _bearer(ISSUER.token(now=NOW, exp=int(NOW.timestamp()), nbf=int(NOW.timestamp())))
    assert _ask(tx, "jwt", headers=headers, now=NOW + timedelta(seconds=0.9)) is not None
    assert "Expiration" in _reason(tx, "jwt", headers=headers, now=NOW + timedelta(seconds=1))
    assert "Not Before" in _reason(tx, "jwt", headers=headers, now=NOW - timedelta(seconds=0.1))


def test_a_key_without_constraint_takes_any_issuer(tx: Tx) -> None:
    set_signing_keys(tx, ISSUER.name, ISSUER.jwks())
    assert _ask(tx, "jwt", headers=_bearer(ISSUER.token(now=NOW, iss="anybody", tid="t"))) is not None


def _issue(iss: str, tid: str | None) -> dict[str, str]:
    return _bearer(ISSUER.token(now=NOW, iss=iss, tid=tid))


@pytest.mark.parametrize(
    ("constraint", "iss", "tid", "met"),
    [
        ("https://example.issuer", "https://example.issuer", None, True),
        ("https://example.issuer", "https://example.issuer", "t", False),
        ("https://example.issuer", "https://example.issuer/x", None, False),
        (f"{ENTRA}/{TENANT}/v2.0", f"{ENTRA}/{TENANT}/v2.0", TENANT, True),
        (f"{ENTRA}/{TENANT}/v2.0", f"{ENTRA}/{TENANT}/v2.0", "garbage_tenant", False),
        (f"{ENTRA}/{TENANT}/v2.0", f"{ENTRA}/{TENANT}/v2.0", "{tenantid}", False),
        (f"{ENTRA}/{TENANT}/v2.0", f"{ENTRA}/{TENANT}/v2.0", None, False),
        (f"{ENTRA}/{TENANT}/v2.0", f"{ENTRA}/other/v2.0", "other", False),
        (ENTRA + "/{tenantid}/v2.0", f"{ENTRA}/{TENANT}/v2.0", TENANT, True),
        (ENTRA + "/{tenantid}/v2.0", f"{ENTRA}/other/v2.0", "other", True),
        (ENTRA + "/{tenantid}/v2.0", f"{ENTRA}/{TENANT}/v2.0", "other", False),
        (ENTRA + "/{tenantid}/v2.0", ENTRA + "/{tenantid}/v2.0", TENANT, False),
        (ENTRA + "/{tenantid}/v2.0", f"{ENTRA}/a/b/v2.0", "a/b", False),
        (ENTRA + "/{tenantid}/v2.0", f"{ENTRA}//v2.0", "", False),
        (ENTRA + "/{tenantid}/v2.0", f"https://[{ENTRA}/x/v2.0", "x", False),
        (ENTRA, ENTRA, TENANT, False),
    ],
)
def test_issuer_constraints(tx: Tx, constraint: str, iss: str, tid: str | None, met: bool) -> None:
    set_signing_keys(tx, constraint, ISSUER.jwks(issuer=constraint))
    if met:
        assert _ask(tx, "jwt", headers=_issue(iss, tid)) is not None
    else:
        assert "failed issuer constraint validation" in _reason(tx, "jwt", headers=_issue(iss, tid))


def test_the_first_key_under_an_id_that_fits_names_the_issuer(tx: Tx) -> None:
    one, two = f"{ENTRA}/one/v2.0", f"{ENTRA}/two/v2.0"
    set_signing_keys(tx, one, ISSUER.jwks(issuer=one))
    set_signing_keys(tx, two, ISSUER.jwks(issuer=two))
    caller = _ask(tx, "jwt", headers=_issue(two, "two"))
    assert caller is not None
    assert caller.jwt is not None
    assert caller.jwt.key_issuer == two


def test_keys_that_change_count_at_once(tx: Tx) -> None:
    headers = _bearer(ISSUER.token(now=NOW))
    set_signing_keys(tx, ISSUER.name, ISSUER.jwks())
    assert _ask(tx, "jwt", headers=headers) is not None
    set_signing_keys(tx, ISSUER.name, Issuer(key=rsa_key("second")).jwks())
    assert "Signature" in _reason(tx, "jwt", headers=headers)
    set_signing_keys(tx, ISSUER.name, ISSUER.jwks())
    assert _ask(tx, "jwt", headers=headers) is not None


def test_half_a_surrogate_pair_in_a_key_id_is_an_ordinary_refusal(tx: Tx) -> None:
    token = ISSUER.token(now=NOW).split(".")

    header = urlsafe_b64encode(json.dumps({"alg": "RS256", "kid": "\ud800"}).encode()).decode().rstrip("=")
    assert "not found for kid" in _reason(tx, "jwt", headers=_bearer(f"{header}.{token[1]}.{token[2]}"))
