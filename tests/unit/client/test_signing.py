"""Members' identities on disk, and the messages they sign."""

from pathlib import Path

import pytest

from dataplane.client.signing import file_signer, new_identity, sign_governance
from dataplane.crypto.certs import common_name, load_certificate
from dataplane.crypto.cose import decode_sign1, verify_sign1
from dataplane.crypto.keys import (
    InvalidKey,
    cert_id,
    load_rsa_private_key,
    load_rsa_public_key,
    rsa_oaep_decrypt,
    rsa_oaep_encrypt,
)


def test_a_new_identity(tmp_path: Path) -> None:
    files = new_identity("member0", tmp_path, encryption_key=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "member0_cert.pem", "member0_enc_privk.pem", "member0_enc_pubk.pem", "member0_privk.pem",
    ]  # fmt: skip
    assert files.encryption_private_key is not None
    assert files.encryption_public_key is not None
    for private in (files.private_key, files.encryption_private_key):
        assert private.stat().st_mode & 0o777 == 0o600
    assert common_name(load_certificate(files.certificate.read_text())) == "member0"
    public = load_rsa_public_key(files.encryption_public_key.read_bytes())
    private_key = load_rsa_private_key(files.encryption_private_key.read_bytes())
    assert rsa_oaep_decrypt(private_key, rsa_oaep_encrypt(public, b"share")) == b"share"
    signer = file_signer(files.certificate, files.private_key)
    assert signer.id == cert_id(files.certificate.read_text())


def test_keys_are_never_replaced(tmp_path: Path) -> None:
    files = new_identity("user0", tmp_path, encryption_key=False)
    assert files.encryption_private_key is None
    before = files.private_key.read_bytes(), files.certificate.read_bytes()
    with pytest.raises(FileExistsError):
        new_identity("user0", tmp_path, encryption_key=False)
    assert (files.private_key.read_bytes(), files.certificate.read_bytes()) == before


def test_certificate_and_key_must_belong_together(tmp_path: Path) -> None:
    one = new_identity("one", tmp_path, encryption_key=False)
    two = new_identity("two", tmp_path, encryption_key=False)
    with pytest.raises(InvalidKey, match="does not belong"):
        file_signer(one.certificate, two.private_key)


def test_the_signer_does_not_show_its_key(tmp_path: Path) -> None:
    files = new_identity("one", tmp_path, encryption_key=False)
    assert "key" not in repr(file_signer(files.certificate, files.private_key)).split("certificate_pem", 1)[1].lower()


def test_governance_headers(tmp_path: Path) -> None:
    files = new_identity("member0", tmp_path, encryption_key=False)
    signer = file_signer(files.certificate, files.private_key)
    message = decode_sign1(sign_governance(signer, "ballot", b"body", created_at_s=17, proposal_id="ab"))
    assert dict(message.protected) == {
        1: -35,
        4: signer.id.encode(),
        "ccf.gov.msg.type": "ballot",
        "ccf.gov.msg.created_at": 17,
        "ccf.gov.msg.proposal_id": "ab",
    }
    assert message.payload == b"body"
    assert verify_sign1(message, signer.key.public_key())
    assert "ccf.gov.msg.proposal_id" not in decode_sign1(sign_governance(signer, "ack", b"", created_at_s=1)).protected
