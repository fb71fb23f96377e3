"""`ccf.crypto` and `ccf.pemToId`: digests and certificates (node-api.md 5.8)."""

from collections.abc import Sequence
from hashlib import sha256
from itertools import zip_longest

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from dataplane.crypto.certs import is_issued_by
from dataplane.js.host import Host
from dataplane.js.quickjs import FALSE, TRUE, Arguments, Thrown, Value, is_text


def digest(host: Host, _count: int, argv: Arguments) -> Value:
    """The SHA-256 of a buffer."""
    algorithm = host.context.text(argv[1])
    if algorithm != "SHA-256":
        raise Thrown(f"Unsupported digest algorithm {algorithm}, expected SHA-256")
    return host.context.new_buffer(sha256(host.context.buffer(argv[2])).digest())


def is_valid_bundle(host: Host, _count: int, argv: Arguments) -> Value:
    """Whether a text is one or more PEM certificates."""
    return TRUE if _certificates(_text(host, argv[1])) else FALSE


def is_valid_chain(host: Host, _count: int, argv: Arguments) -> Value:
    """Whether the first certificate of a chain leads, through the rest, to a trusted one."""
    chain, trusted = _certificates(_text(host, argv[1])), _certificates(_text(host, argv[2]))
    return TRUE if _leads_to(chain, trusted) else FALSE


def pem_to_id(host: Host, _count: int, argv: Arguments) -> Value:
    """The fingerprint of a PEM certificate: SHA-256 of its DER, lower-case hex."""
    certificates = _certificates(_text(host, argv[1]))
    if not certificates:
        raise Thrown("Argument is not a PEM certificate")
    return host.context.new_text(certificates[0].fingerprint(SHA256()).hex())


def _text(host: Host, value: Value) -> str:
    if not is_text(value):
        raise Thrown("Argument must be a string", "TypeError")
    return host.context.text(value)


def _certificates(pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return []


def _leads_to(chain: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate]) -> bool:
    for certificate, issuer in zip_longest(chain, chain[1:]):
        if any(certificate == anchor or is_issued_by(certificate, anchor) for anchor in trusted):
            return True
        if issuer is None or not is_issued_by(certificate, issuer):
            return False
    return False
