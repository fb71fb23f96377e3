"""Keys and the names derived from them (ledger-format.md 7.1, 7.2).

Node, member and service keys are ECDSA (P-384 where we make them); encryption keys are RSA. Key pairs are made by the
caller: nothing here draws randomness but the signature schemes themselves.
"""

from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey
RsaPrivateKey = rsa.RSAPrivateKey
RsaPublicKey = rsa.RSAPublicKey

_PREHASHED_SHA256 = ec.ECDSA(Prehashed(hashes.SHA256()))
_OAEP_SHA256 = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
_MIN_RSA_BITS = 2048


class InvalidKey(ValueError):
    """The text or bytes hold no key of the kind asked for."""


def load_private_key(pem: bytes | str) -> PrivateKey:
    """Read an unencrypted elliptic-curve private key; raises `InvalidKey`."""
    key = _load_private(pem)
    if not isinstance(key, PrivateKey):
        raise InvalidKey("the private key is not on an elliptic curve")
    return key


def load_rsa_private_key(pem: bytes | str) -> RsaPrivateKey:
    """Read an unencrypted RSA private key; raises `InvalidKey`."""
    key = _load_private(pem)
    if not isinstance(key, RsaPrivateKey):
        raise InvalidKey("the private key is not RSA")
    return key


def load_public_key(pem: bytes | str) -> PublicKey:
    """Read an elliptic-curve public key (SPKI PEM); raises `InvalidKey`."""
    key = _load_public(pem)
    if not isinstance(key, PublicKey):
        raise InvalidKey("the public key is not on an elliptic curve")
    return key


def load_public_key_der(der: bytes) -> PublicKey:
    """Read an elliptic-curve public key (SPKI DER); raises `InvalidKey`."""
    try:
        key = load_der_public_key(der)
    except Exception as error:
        raise InvalidKey(f"no public key in the DER bytes: {error}") from error
    if not isinstance(key, PublicKey):
        raise InvalidKey("the public key is not on an elliptic curve")
    return key


def load_rsa_public_key(pem: bytes | str) -> RsaPublicKey:
    """Read an RSA public key (SPKI PEM) of at least 2048 bits; raises `InvalidKey`."""
    key = _load_public(pem)
    if not isinstance(key, RsaPublicKey):
        raise InvalidKey("the public key is not RSA")
    if key.key_size < _MIN_RSA_BITS:
        raise InvalidKey(f"an RSA key of {key.key_size} bits is too short, {_MIN_RSA_BITS} are needed")
    return key


def private_pem(key: PrivateKey | RsaPrivateKey) -> str:
    """The key as unencrypted PKCS#8 PEM. Callers keep it in memory or in a 0600 file."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: PublicKey | RsaPublicKey) -> str:
    """The key as SPKI PEM, final newline included."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def spki_der(key: PublicKey | RsaPublicKey) -> bytes:
    """The key as SPKI DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: PublicKey) -> str:
    """Hex SHA-256 of the SPKI DER: a node's id, and the COSE `kid` of the service (ledger-format.md 7.2, 2.6)."""
    return sha256(spki_der(key)).hexdigest()


def cert_id(certificate: bytes | str) -> str:
    """Hex SHA-256 of a certificate's DER: a member's or user's id. Takes PEM or DER; raises `InvalidKey`."""
    data = certificate.encode() if isinstance(certificate, str) else certificate
    if not data.lstrip().startswith(b"-----"):
        return sha256(data).hexdigest()
    try:
        return x509.load_pem_x509_certificate(data).fingerprint(hashes.SHA256()).hex()
    except ValueError as error:
        raise InvalidKey(f"no certificate in the PEM text: {error}") from error


def sign_digest(key: PrivateKey, digest: bytes) -> bytes:
    """ECDSA over `digest` (32 bytes) as it stands, whatever the curve; ASN.1 DER (ledger-format.md 2.5)."""
    return key.sign(digest, _PREHASHED_SHA256)


def verify_digest(key: PublicKey, signature: bytes, digest: bytes) -> bool:
    """Whether `signature` (ASN.1 DER) is `key`'s over the 32 bytes of `digest`."""
    try:
        key.verify(signature, digest, _PREHASHED_SHA256)
    except (InvalidSignature, ValueError):
        return False
    return True


def rsa_oaep_encrypt(key: RsaPublicKey, plaintext: bytes) -> bytes:
    """RSA-OAEP with SHA-256, MGF1 SHA-256 and an empty label (ledger-format.md 6.3)."""
    return key.encrypt(plaintext, _OAEP_SHA256)


def rsa_oaep_decrypt(key: RsaPrivateKey, ciphertext: bytes) -> bytes:
    """The inverse of `rsa_oaep_encrypt`; raises `InvalidKey` when the key does not fit."""
    try:
        return key.decrypt(ciphertext, _OAEP_SHA256)
    except ValueError as error:
        raise InvalidKey("the text was not encrypted to this key") from error


def _load_private(pem: bytes | str) -> object:
    try:
        return load_pem_private_key(_as_bytes(pem), password=None)
    except Exception as error:  # the library raises ValueError, TypeError and its own types for bad text
        raise InvalidKey("no unencrypted private key in the PEM text") from error


def _load_public(pem: bytes | str) -> object:
    try:
        return load_pem_public_key(_as_bytes(pem))
    except Exception as error:
        raise InvalidKey(f"no public key in the PEM text: {error}") from error


def _as_bytes(pem: bytes | str) -> bytes:
    return pem.encode() if isinstance(pem, str) else pem
