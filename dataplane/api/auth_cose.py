"""Callers known by the COSE_Sign1 envelope they send as the body (node-api.md 3.3).

An envelope that cannot be decoded is a 500, as the contract has it; one that does not prove its signer a 401.
"""

from functools import lru_cache

from dataplane.api.policy import Clock, NotMet, Peer, Run
from dataplane.apps.endpoint import Identity, Request
from dataplane.crypto.certs import InvalidCertificate, public_key_of
from dataplane.crypto.cose import ALG, KID, Sign1, decode_sign1, verify_sign1
from dataplane.crypto.keys import PublicKey
from dataplane.errors import InternalError
from dataplane.kv.tables import MEMBERS_CERTS, MEMBERS_INFO, USERS_CERTS, USERS_INFO, get_json
from dataplane.kv.tx import Tx

MSG_TYPE = "ccf.gov.msg.type"
CREATED_AT = "ccf.gov.msg.created_at"
COSE_CHALLENGE = 'COSE-SIGN1 realm="Signed request access"'

_ECDSA = frozenset({-7, -35, -36})


def member_cose(name: str, message_type: str, *, active_only: bool) -> Run:
    """The policy `name`: signed by a member as a message of the given type, by an Active one with `active_only`."""

    def run(tx: Tx, request: Request, peer: Peer, now: Clock) -> Identity:
        envelope, member_id = _envelope(request)
        _check_created_at(envelope)
        key = member_id.encode()
        cert = tx.get(MEMBERS_CERTS, key)
        if cert is None:
            raise NotMet("Signer is not a known member")
        info = get_json(tx, MEMBERS_INFO, key) or {}
        if active_only and info.get("status") != "Active":
            raise NotMet("Signer is not an ACTIVE member")
        _check_signature(envelope, cert)
        found = envelope.protected.get(MSG_TYPE, "")
        if found != message_type:
            raise NotMet(f"Found {MSG_TYPE} set to {found}, expected {MSG_TYPE} to be {message_type}")
        return Identity(name, member_id, cert.decode(), info.get("member_data"), envelope)

    return run


def user_cose(tx: Tx, request: Request, peer: Peer, now: Clock) -> Identity:
    """The policy `user_cose_sign1`: signed by a registered user, whose certificate's validity is not looked at."""
    envelope, user_id = _envelope(request)
    key = user_id.encode()
    cert = tx.get(USERS_CERTS, key)
    if cert is None:
        raise NotMet("Signer is not a known user")
    _check_signature(envelope, cert)
    info = get_json(tx, USERS_INFO, key)
    return Identity("user_cose_sign1", user_id, cert.decode(), info["user_data"] if info else None, envelope)


def _envelope(request: Request) -> tuple[Sign1, str]:
    """The decoded envelope and its signer."""
    if request.headers.get("content-type") != "application/cose":
        raise NotMet("Missing or unexpected content-type, expected application/cose")
    try:
        envelope = decode_sign1(request.body)
    except ValueError as error:
        raise InternalError(f"Failed to decode COSE_Sign1: {error}") from error
    kid, algorithm = envelope.protected.get(KID), envelope.protected.get(ALG)
    if not isinstance(kid, bytes) or not isinstance(algorithm, int):
        raise InternalError("Failed to decode COSE_Sign1: alg and kid are required in the protected header")
    if algorithm not in _ECDSA:
        raise NotMet(f"Unsupported algorithm: {algorithm}")
    return envelope, kid.decode("ascii", "replace")


def _check_created_at(envelope: Sign1) -> None:
    created_at = envelope.protected.get(CREATED_AT)
    if not isinstance(created_at, int) or created_at < 0:
        raise InternalError(f"Failed to decode COSE_Sign1: {CREATED_AT} must be a non-negative integer")


def _check_signature(envelope: Sign1, cert: bytes) -> None:
    key = _key_of(cert)
    if key is None or not verify_sign1(envelope, key):
        raise NotMet("Signature is invalid")


@lru_cache(maxsize=1024)
def _key_of(cert: bytes) -> PublicKey | None:
    """The elliptic-curve key of a stored certificate, None where it has another kind."""
    try:
        return public_key_of(cert)
    except InvalidCertificate:
        return None
