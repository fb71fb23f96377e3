"""Who is calling: authentication policies, tried in the order an endpoint lists them (node-api.md 3).

TLS accepts every client certificate; what it means is decided here, on the node that executes the request. Governance
policies carry the message type they expect, as in `active_member_cose_sign1:ballot`.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from dataplane.api.auth_cose import COSE_CHALLENGE, member_cose, user_cose
from dataplane.api.auth_jwt import JWT_CHALLENGE, bearer
from dataplane.api.policy import Check, Clock, NotMet, Run
from dataplane.api.policy import Peer as Peer
from dataplane.apps.endpoint import AllOf, Identity, Policy, Request
from dataplane.crypto.certs import certificate_pem, load_certificate, public_key_of
from dataplane.crypto.keys import key_id
from dataplane.errors import InternalError, InvalidAuthenticationInfo
from dataplane.kv.tables import MEMBERS_CERTS, MEMBERS_INFO, NODES_INFO, USERS_CERTS, USERS_INFO, get_json
from dataplane.kv.tx import Tx

_MEMBER_COSE = ("member_cose_sign1", "active_member_cose_sign1")


class Unauthenticated(InvalidAuthenticationInfo):
    """No policy was met. `challenge` is the `www-authenticate` value of the last policy, None where it has none."""

    def __init__(self, failures: Sequence[tuple[str, str]], challenge: str | None) -> None:
        details = [
            {"auth_policy": policy, "code": "InvalidAuthenticationInfo", "message": reason}
            for policy, reason in failures
        ]
        super().__init__("Invalid authentication credentials.", details=details)
        self.challenge = challenge


def authenticate(policies: tuple[Policy, ...], tx: Tx, request: Request, peer: Peer, now: Clock) -> Identity | None:
    """The caller by the first policy that is met, None where the endpoint asks for none.

    Raises `Unauthenticated` when no policy is met, `CcfError` 500 for an unknown policy or an undecodable envelope.
    """
    if not policies:
        return None
    failures: list[tuple[str, str]] = []
    challenge: str | None = None
    for check in _checks(policies):
        try:
            return check.run(tx, request, peer, now)
        except NotMet as reason:
            failures.append((check.name, str(reason)))
            challenge = reason.challenge or check.challenge
    raise Unauthenticated(failures, challenge)


@lru_cache(maxsize=4096)
def _checks(policies: tuple[Policy, ...]) -> tuple[Check, ...]:
    """What to try, in order. An unknown name anywhere in the list is a fault of every request (node-api.md 3.1)."""
    return tuple(_all_of(policy) if isinstance(policy, AllOf) else _named(policy) for policy in policies)


def _named(policy: str) -> Check:
    known = _KNOWN.get(policy)
    if known is not None:
        return known
    name, separator, message_type = policy.partition(":")
    if separator and name in _MEMBER_COSE:
        return Check(name, member_cose(name, message_type, active_only=name.startswith("active")), COSE_CHALLENGE)
    raise InternalError(f"Unknown authentication policy: {policy}")


def _all_of(policy: AllOf) -> Check:
    parts = [_named(name) for name in sorted(policy.policies)]
    names = [part.name for part in parts]
    if not names or len(set(names)) < len(names):
        raise InternalError(f"all_of must list different authentication policies, not {names}")

    def every(tx: Tx, request: Request, peer: Peer, now: Clock) -> Identity:
        met: dict[str, Identity] = {}
        for part in parts:
            try:
                met[part.name] = part.run(tx, request, peer, now)
            except NotMet as reason:
                raise NotMet(f"{part.name}:{reason}", part.challenge) from reason
        return Identity("all_of", all_of=met)

    return Check("+".join(names), every)


def _no_auth(tx: Tx, request: Request, peer: Peer, now: Clock) -> Identity:
    return Identity("no_auth")


def _user_cert(tx: Tx, request: Request, peer: Peer, now: Clock) -> Identity:
    der = _certificate_of(peer)
    assert peer.id is not None
    key = peer.id.encode()
    if not tx.has(USERS_CERTS, key):
        raise NotMet("Could not find matching user certificate")
    _check_validity(der, now)
    info = get_json(tx, USERS_INFO, key)
    return Identity("user_cert", peer.id, _pem(der), info["user_data"] if info else None)


def _member_cert(tx: Tx, request: Request, peer: Peer, now: Clock) -> Identity:
    der = _certificate_of(peer)
    assert peer.id is not None
    key = peer.id.encode()
    if not tx.has(MEMBERS_CERTS, key):
        raise NotMet("Could not find matching member certificate")
    info = get_json(tx, MEMBERS_INFO, key) or {}
    return Identity("member_cert", peer.id, _pem(der), info.get("member_data"))


def _any_cert(tx: Tx, request: Request, peer: Peer, now: Clock) -> Identity:
    der = _certificate_of(peer)
    _check_validity(der, now)
    return Identity("any_cert", peer.id, _pem(der))


def _node_cert(tx: Tx, request: Request, peer: Peer, now: Clock) -> Identity:
    """A node is known by its key, whatever certificate it shows (node-api.md 3.1)."""
    der = _certificate_of(peer)
    try:
        node_id = key_id(public_key_of(der))
    except ValueError as error:
        raise NotMet(f"The caller's certificate cannot be read: {error}") from error
    if not tx.has(NODES_INFO, node_id.encode()):
        raise NotMet("Could not find matching node certificate")
    return Identity("node_cert", node_id, _pem(der))


_POLICIES: dict[str, tuple[Run, str | None]] = {
    "user_cert": (_user_cert, None),
    "member_cert": (_member_cert, None),
    "any_cert": (_any_cert, None),
    "node_cert": (_node_cert, None),
    "no_auth": (_no_auth, None),
    "jwt": (bearer, JWT_CHALLENGE),
    "user_cose_sign1": (user_cose, COSE_CHALLENGE),
}
_KNOWN = {name: Check(name, run, challenge) for name, (run, challenge) in _POLICIES.items()}


def _certificate_of(peer: Peer) -> bytes:
    if peer.certificate_der is None:
        raise NotMet("No caller certificate")
    return peer.certificate_der


def _check_validity(der: bytes, now: Clock) -> None:
    not_before, not_after = _validity(der)
    instant = now()
    if instant < not_before:
        raise NotMet(f"Current time {instant} is before certificate's Not Before validity period {not_before}")
    if instant > not_after:
        raise NotMet(f"Current time {instant} is after certificate's Not After validity period {not_after}")


@lru_cache(maxsize=4096)
def _validity(der: bytes) -> tuple[datetime, datetime]:
    try:
        certificate = load_certificate(der)
    except ValueError as error:
        raise NotMet(f"The caller's certificate cannot be read: {error}") from error
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


@lru_cache(maxsize=4096)
def _pem(der: bytes) -> str:
    try:
        return certificate_pem(load_certificate(der))
    except ValueError as error:
        raise NotMet(f"The caller's certificate cannot be read: {error}") from error
