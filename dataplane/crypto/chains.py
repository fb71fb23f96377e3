"""Certificates in PEM bundles, and chains of them up to a trusted one (node-api.md 5.8, ledger-format.md 8)."""

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from OpenSSL.crypto import (
    FILETYPE_ASN1,
    X509,
    X509Store,
    X509StoreContext,
    X509StoreContextError,
    X509StoreFlags,
    dump_certificate,
    load_certificate,
)

from dataplane.crypto.certs import is_authority, is_issued_by
from dataplane.crypto.der import SEQUENCE, only

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which the binding has no name for
_FULL = X509StoreFlags.CHECK_SS_SIGNATURE
_ENDORSEMENT = _FULL | X509StoreFlags.X509_STRICT | X509StoreFlags.PARTIAL_CHAIN | _NO_CHECK_TIME


class InvalidChain(ValueError):
    """The certificates cannot be read, or do not lead from the first to the last."""


def load_bundle(pem: str) -> list[x509.Certificate]:
    """The certificates of a PEM text in their order; empty where the text is no bundle or one cannot be read."""
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except Exception:  # the library has types of its own, such as `InvalidVersion`, that are no ValueError
        return []


def is_chain_valid(chain_pem: str, trusted_pem: str, now: datetime) -> bool:
    """Whether the first certificate of a chain leads, through the others in any order, to a trusted one.

    Every trusted certificate must be an authority; it need not be self-signed. All on the way must be valid at `now`.
    """
    chain, trusted = load_bundle(chain_pem), load_bundle(trusted_pem)
    if not chain or not trusted or not all(map(_may_be_trusted, trusted)):
        return False
    store = X509Store()
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(now.astimezone(UTC).replace(tzinfo=None))
    for certificate in trusted:
        store.add_cert(X509.from_cryptography(certificate))
    first, *others = map(X509.from_cryptography, chain)
    try:
        X509StoreContext(store, first, others).verify_certificate()
    except X509StoreContextError:
        return False
    return True


def check_chain_at(chain: Sequence[bytes], now: datetime) -> None:
    """Whether DER certificates form a chain, each signed by the next and valid at `now`, the last one by itself.

    Raises `InvalidChain`.
    """
    if _verified(chain, _FULL, now) != list(chain):
        raise InvalidChain("a certificate of the chain is not the issuer of the one before it")


def timeless_chain(chain: Sequence[bytes]) -> list[bytes]:
    """The DER certificates on the way from the first to the last, which is trusted, by the strict rules of RFC 5280.

    Times of validity do not matter. Raises `InvalidChain`, also for one certificate alone.
    """
    if len(chain) < 2:
        raise InvalidChain("the chain of certificates is too short")
    return _verified(chain, _ENDORSEMENT, None)


def key_of(certificate: bytes) -> object:
    """The public key in a DER certificate, of any kind, whatever its serial number. Raises `InvalidChain`."""
    try:
        return _load(certificate).get_pubkey().to_cryptography_key()
    except Exception as error:  # unknown kinds and malformed keys have types of their own
        raise InvalidChain(f"the key of a certificate cannot be read: {error!r}") from error


def _verified(chain: Sequence[bytes], flags: int, now: datetime | None) -> list[bytes]:
    first, *others = map(_load, chain)
    store = X509Store()
    store.set_flags(flags)
    if now is not None:
        store.set_time(now.astimezone(UTC).replace(tzinfo=None))
    store.add_cert(others[-1] if others else first)
    try:
        found = X509StoreContext(store, first, others[:-1]).get_verified_chain()
    except X509StoreContextError as error:
        raise InvalidChain(f"the chain of certificates does not hold: {error}") from error
    return [dump_certificate(FILETYPE_ASN1, certificate) for certificate in found]


def _load(certificate: bytes) -> X509:
    """Read without the library that refuses some serial numbers, yet one DER certificate and nothing behind it."""
    try:
        only(certificate, SEQUENCE)
        loaded = load_certificate(FILETYPE_ASN1, certificate)
        if dump_certificate(FILETYPE_ASN1, loaded) == certificate:
            return loaded
    except Exception as error:  # the binding's own types are no ValueErrors
        raise InvalidChain(f"a certificate cannot be read: {error}") from error
    raise InvalidChain("a certificate is not in its canonical form")


def _may_be_trusted(certificate: x509.Certificate) -> bool:
    """An authority that may sign certificates; version 1 knows no extensions, there a self-signed one counts."""
    if certificate.version is x509.Version.v1:
        return is_issued_by(certificate, certificate)
    return is_authority(certificate) and _signs_certificates(certificate)


def _signs_certificates(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True
