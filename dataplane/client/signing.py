"""Sign governance requests as a member, and speak the modern governance API (node-api.md 2.3, 3.3).

Keys stay on the member's machine: in files only the owner can read, and in this process.
"""

import json
import os
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from dataplane.client.session import Response, ServiceError, Session
from dataplane.crypto.certs import public_key_of, self_signed_client_certificate
from dataplane.crypto.cose import ALG, KID, Header, algorithm_of, sign1
from dataplane.crypto.keys import (
    InvalidKey,
    PrivateKey,
    RsaPrivateKey,
    cert_id,
    load_private_key,
    private_pem,
    public_pem,
    rsa_oaep_decrypt,
    spki_der,
)
from dataplane.txid import MemberId

API_VERSION = "2024-07-01"
COSE_HEADERS = {"content-type": "application/cose"}

_RSA_BITS = 2048
_VALIDITY_DAYS = 365


@dataclass(frozen=True, slots=True)
class Signer:
    """A member's or user's certificate and its private key; `repr` shows the certificate alone."""

    certificate_pem: str
    key: PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        if spki_der(public_key_of(self.certificate_pem)) != spki_der(self.key.public_key()):
            raise InvalidKey("the private key does not belong to the certificate")

    @property
    def id(self) -> MemberId:
        """The member or user id: hex SHA-256 of the certificate's DER."""
        return cert_id(self.certificate_pem)


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """Where `new_identity` put a member or user. The encryption files are None without an encryption key."""

    certificate: Path
    private_key: Path
    encryption_public_key: Path | None
    encryption_private_key: Path | None


def file_signer(certificate: Path, private_key: Path) -> Signer:
    """The signer kept in two PEM files; raises `OSError`, `InvalidKey` or `InvalidCertificate`."""
    return Signer(certificate.read_text(), load_private_key(private_key.read_bytes()))


def new_identity(name: str, directory: Path, *, encryption_key: bool) -> IdentityFiles:
    """Make a P-384 key and a certificate for it and, for recovery, an RSA key pair; private keys get mode 0600.

    Writes `<name>_cert.pem` and `<name>_privk.pem`, `<name>_enc_pubk.pem` and `<name>_enc_privk.pem`. Raises
    `FileExistsError` rather than replace a key.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    serial = int.from_bytes(secrets.token_bytes(16), "big")
    certificate = self_signed_client_certificate(key, f"CN={name}", serial, datetime.now(UTC), _VALIDITY_DAYS)
    private_key = _write_private(directory / f"{name}_privk.pem", key)
    certificate_file = directory / f"{name}_cert.pem"
    certificate_file.write_text(certificate)
    if not encryption_key:
        return IdentityFiles(certificate_file, private_key, None, None)
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    encryption_private = _write_private(directory / f"{name}_enc_privk.pem", rsa_key)
    encryption_public = directory / f"{name}_enc_pubk.pem"
    encryption_public.write_text(public_pem(rsa_key.public_key()))
    return IdentityFiles(certificate_file, private_key, encryption_public, encryption_private)


def sign_governance(
    signer: Signer, msg_type: str, payload: bytes, *, created_at_s: int, proposal_id: str | None = None
) -> bytes:
    """A COSE_Sign1 request of `msg_type` (`proposal`, `ballot`, `withdrawal`, `ack`, `state_digest`, ...).

    `created_at_s` is Unix time; ballots and withdrawals name their proposal.
    """
    protected: list[Header] = [
        (ALG, algorithm_of(signer.key)),
        (KID, signer.id.encode()),
        ("ccf.gov.msg.type", msg_type),
        ("ccf.gov.msg.created_at", created_at_s),
    ]
    if proposal_id is not None:
        protected.append(("ccf.gov.msg.proposal_id", proposal_id))
    return sign1(signer.key, protected, payload)


@dataclass(frozen=True, slots=True)
class Member:
    """A member at a service. Failures the service answers raise `ServiceError` with its code."""

    session: Session
    signer: Signer

    @property
    def id(self) -> MemberId:
        """The member id."""
        return self.signer.id

    def activate(self) -> None:
        """Acknowledge the state of the service: the member becomes Active."""
        digest = self._post(f"/gov/members/state-digests/{self.id}:update", "state_digest", b"").json()
        payload = _json_bytes({"stateDigest": digest["stateDigest"]})
        self._post(f"/gov/members/state-digests/{self.id}:ack", "ack", payload)

    def propose(self, actions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Submit a proposal of `{"name", "args"}` actions; the proposal as it then stands (`proposalId`, ...)."""
        payload = _json_bytes({"actions": list(actions)})
        return _object(self._post("/gov/members/proposals:create", "proposal", payload))

    def vote(self, proposal_id: str, ballot_js: str) -> dict[str, Any]:
        """Submit a ballot: a script that exports `vote(proposal, proposerId)`; the proposal as it then stands."""
        path = f"/gov/members/proposals/{proposal_id}/ballots/{self.id}:submit"
        return _object(self._post(path, "ballot", _json_bytes({"ballot": ballot_js}), proposal_id))

    def accept(self, proposal_id: str) -> dict[str, Any]:
        """Vote for a proposal without conditions."""
        return self.vote(proposal_id, "export function vote (proposal, proposerId) { return true }")

    def withdraw(self, proposal_id: str) -> dict[str, Any]:
        """Withdraw a proposal of this member; empty when the service does not know it."""
        return _object(self._post(f"/gov/members/proposals/{proposal_id}:withdraw", "withdrawal", b"", proposal_id))

    def recovery_share(self, encryption_key: RsaPrivateKey) -> bytes:
        """This member's current recovery share (44 bytes), decrypted with its encryption key."""
        path = f"/gov/recovery/encrypted-shares/{self.id}?api-version={API_VERSION}"
        encrypted = self.session.get_json(path)["encryptedShare"]
        return rsa_oaep_decrypt(encryption_key, b64decode(encrypted))

    def submit_recovery_share(self, share: bytes) -> dict[str, Any]:
        """Give a share to a service that waits for them; how many it has (`submittedCount`, `message`, ...)."""
        payload = _json_bytes({"share": b64encode(share).decode()})
        return _object(self._post(f"/gov/recovery/members/{self.id}:recover", "recovery_share", payload))

    def _post(self, path: str, msg_type: str, payload: bytes, proposal_id: str | None = None) -> Response:
        body = sign_governance(self.signer, msg_type, payload, created_at_s=int(time.time()), proposal_id=proposal_id)
        response = self.session.request("POST", f"{path}?api-version={API_VERSION}", body=body, headers=COSE_HEADERS)
        if response.status >= 400:
            raise ServiceError.of(response)
        return response


def _object(response: Response) -> dict[str, Any]:
    return dict(response.json()) if response.body else {}


def _json_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


def _write_private(path: Path, key: PrivateKey | RsaPrivateKey) -> Path:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(private_pem(key))
    return path
