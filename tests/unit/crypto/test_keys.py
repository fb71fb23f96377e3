"""Keys, ids, and signatures over digests."""

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from dataplane.crypto import keys
from dataplane.crypto.keys import InvalidKey
from tests.support.vectors import require_vectors

KEY = ec.generate_private_key(ec.SECP384R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
DIGEST = sha256(b"root").digest()


def test_keys_survive_pem() -> None:
    assert keys.spki_der(keys.load_private_key(keys.private_pem(KEY)).public_key()) == keys.spki_der(KEY.public_key())
    public = keys.public_pem(KEY.public_key())
    assert public.endswith("-----END PUBLIC KEY-----\n")
    assert keys.public_pem(keys.load_public_key(public)) == public
    assert keys.load_public_key_der(keys.spki_der(KEY.public_key())) == KEY.public_key()
    assert keys.load_rsa_public_key(keys.public_pem(RSA_KEY.public_key())) == RSA_KEY.public_key()
    assert keys.private_pem(keys.load_rsa_private_key(keys.private_pem(RSA_KEY))) == keys.private_pem(RSA_KEY)


def test_other_kinds_of_keys_are_refused() -> None:
    ed_key = ed25519.Ed25519PrivateKey.generate()
    ed_pem = ed_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, keys.NoEncryption())
    locked = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    for pem in (b"", b"nonsense", ed_pem, locked, keys.private_pem(RSA_KEY), keys.public_pem(KEY.public_key())):
        with pytest.raises(InvalidKey):
            keys.load_private_key(pem)
    for text in ("", keys.private_pem(KEY), keys.public_pem(RSA_KEY.public_key())):
        with pytest.raises(InvalidKey):
            keys.load_public_key(text)
    with pytest.raises(InvalidKey):
        keys.load_rsa_private_key(keys.private_pem(KEY))
    with pytest.raises(InvalidKey):
        keys.load_public_key_der(b"\x30\x00")


def test_short_rsa_keys_are_refused() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(InvalidKey, match="1024 bits"):
        keys.load_rsa_public_key(keys.public_pem(short.public_key()))


def test_error_messages_do_not_repeat_the_key() -> None:
    pem = keys.private_pem(RSA_KEY)
    with pytest.raises(InvalidKey) as failure:
        keys.load_private_key(pem)
    assert pem[40:80] not in str(failure.value)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_digest_signatures(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    signature = keys.sign_digest(key, DIGEST)
    assert keys.verify_digest(key.public_key(), signature, DIGEST)
    assert not keys.verify_digest(key.public_key(), signature, sha256(DIGEST).digest())
    assert not keys.verify_digest(KEY.public_key(), signature, DIGEST)
    assert not keys.verify_digest(key.public_key(), signature[:-1], DIGEST)
    assert not keys.verify_digest(key.public_key(), b"", DIGEST)


def test_ids_of_real_members() -> None:
    common = require_vectors() / "ccf-services" / "acme_containing_service" / "common"
    pem = (common / "member0_cert.pem").read_bytes()
    der = keys.x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    assert keys.cert_id(pem) == keys.cert_id(pem.decode()) == keys.cert_id(der) == sha256(der).hexdigest()
    with pytest.raises(InvalidKey):
        keys.cert_id("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def test_oaep_both_ways() -> None:
    text = keys.rsa_oaep_encrypt(RSA_KEY.public_key(), b"share")
    assert keys.rsa_oaep_decrypt(RSA_KEY, text) == b"share"
    with pytest.raises(InvalidKey):
        keys.rsa_oaep_decrypt(RSA_KEY, bytes([text[0] ^ 1]) + text[1:])
    with pytest.raises(InvalidKey):
        keys.rsa_oaep_decrypt(RSA_KEY, b"short")
