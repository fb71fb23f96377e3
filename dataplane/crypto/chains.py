"""Certificates in PEM bundles, and chains of them up to a trusted one (node-api.md 5.8)."""

from datetime import UTC, datetime

from cryptography import x509
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags

from dataplane.crypto.certs import is_authority, is_issued_by


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
