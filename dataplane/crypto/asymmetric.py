"""Keys of every kind an application may use, read from PEM and written to it (node-api.md 5.8).

Elliptic-curve keys are on P-256, P-384 or secp256k1; Edwards keys are Ed25519 and X25519; RSA keys are of any size that
the library accepts. A private key is written as unencrypted PKCS#8, a public key as SubjectPublicKeyInfo.
"""

from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from dataplane.crypto.keys import InvalidKey

EcPrivateKey = ec.EllipticCurvePrivateKey
EcPublicKey = ec.EllipticCurvePublicKey
RsaPrivateKey = rsa.RSAPrivateKey
RsaPublicKey = rsa.RSAPublicKey
OkpPrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey
OkpPublicKey: TypeAlias = ed25519.Ed25519PublicKey | x25519.X25519PublicKey
AnyPrivateKey: TypeAlias = EcPrivateKey | RsaPrivateKey | OkpPrivateKey
AnyPublicKey: TypeAlias = EcPublicKey | RsaPublicKey | OkpPublicKey

_CURVES = ("secp256r1", "secp384r1", "secp256k1")
_MOST_RSA_BITS = 16384  # as OpenSSL
_CERTIFICATE = b"-----BEGIN CERTIFICATE"


def load_ec_private(pem: bytes) -> EcPrivateKey:
    """A private key on one of the curves above; raises `InvalidKey`."""
    key = _private(pem)
    if not isinstance(key, EcPrivateKey) or key.curve.name not in _CURVES:
        raise InvalidKey("the private key is not on a supported elliptic curve")
    return key


def load_rsa_private(pem: bytes) -> RsaPrivateKey:
    """A private RSA key; raises `InvalidKey`."""
    key = _private(pem)
    if not isinstance(key, RsaPrivateKey):
        raise InvalidKey("the private key is not RSA")
    return key


def load_rsa_private_to_convert(pem: bytes) -> RsaPrivateKey:
    """A private RSA key that is not to be used, but written in another form; raises `InvalidKey`."""
    try:
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except Exception as error:  # the library raises ValueError, TypeError and its own types for bad text
        raise InvalidKey("no unencrypted private key in the PEM text") from error
    if not isinstance(key, RsaPrivateKey):
        raise InvalidKey("the private key is not RSA")
    return rsa_private_to_convert(key.private_numbers())


def rsa_private_to_convert(numbers: rsa.RSAPrivateNumbers) -> RsaPrivateKey:
    """A private RSA key that is not to be used, but written; raises `InvalidKey` where its numbers do not fit together.

    Whether the factors are prime is asked when it is loaded to be used: that takes a third of a second at 4096 bits.
    """
    if not _fit_together(numbers):
        raise InvalidKey("the numbers of the private RSA key do not belong together")
    try:
        return numbers.private_key(unsafe_skip_rsa_key_validation=True)
    except ValueError as error:
        raise InvalidKey(f"no private RSA key: {error}") from error


def load_okp_private(pem: bytes) -> OkpPrivateKey:
    """A private Ed25519 or X25519 key; raises `InvalidKey`."""
    key = _private(pem)
    if not isinstance(key, OkpPrivateKey):
        raise InvalidKey("the private key is neither Ed25519 nor X25519")
    return key


def load_ec_public(pem: bytes) -> EcPublicKey:
    """A public key on one of the curves above, from a key's or a certificate's PEM; raises `InvalidKey`."""
    key = _public(pem)
    if not isinstance(key, EcPublicKey) or key.curve.name not in _CURVES:
        raise InvalidKey("the public key is not on a supported elliptic curve")
    return key


def load_rsa_public(pem: bytes) -> RsaPublicKey:
    """A public RSA key, from a key's or a certificate's PEM; raises `InvalidKey`."""
    key = _public(pem)
    if not isinstance(key, RsaPublicKey):
        raise InvalidKey("the public key is not RSA")
    return key


def load_okp_public(pem: bytes) -> OkpPublicKey:
    """A public Ed25519 or X25519 key, from a key's or a certificate's PEM; raises `InvalidKey`."""
    key = _public(pem)
    if not isinstance(key, OkpPublicKey):
        raise InvalidKey("the public key is neither Ed25519 nor X25519")
    return key


def _fit_together(numbers: rsa.RSAPrivateNumbers) -> bool:
    """The rules of RFC 8017 3.2 but for the primes; large numbers are refused before they are multiplied."""
    n, e = numbers.public_numbers.n, numbers.public_numbers.e
    p, q, d = numbers.p, numbers.q, numbers.d
    if n.bit_length() > _MOST_RSA_BITS or min(p, q) < 3 or max(p, q, d, e, numbers.iqmp) >= n or p * q != n:
        return False
    exponents = (d % (p - 1), d % (q - 1))
    inverse = all(exponent * e % (prime - 1) == 1 for exponent, prime in zip(exponents, (p, q), strict=True))
    return inverse and exponents == (numbers.dmp1, numbers.dmq1) and numbers.iqmp * q % p == 1


def private_pem(key: AnyPrivateKey) -> str:
    """The key as unencrypted PKCS#8 PEM, final newline included."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: AnyPublicKey) -> str:
    """The key as SPKI PEM, final newline included."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _private(pem: bytes) -> object:
    try:
        return load_pem_private_key(pem, password=None)
    except Exception as error:  # the library raises ValueError, TypeError and its own types for bad text
        raise InvalidKey("no unencrypted private key in the PEM text") from error


def _public(pem: bytes) -> object:
    try:
        if pem.lstrip().startswith(_CERTIFICATE):
            return x509.load_pem_x509_certificate(pem).public_key()
        return load_pem_public_key(pem)
    except Exception as error:
        raise InvalidKey("no public key and no certificate in the PEM text") from error
