"""`ccf.crypto.digest`, `ccf.crypto.isValidX509...` and `ccf.pemToId` (node-api.md 5.8)."""

from datetime import UTC, datetime
from hashlib import sha256

from cryptography.hazmat.primitives.hashes import SHA256

from dataplane.crypto.chains import is_chain_valid, load_bundle
from dataplane.js.host import Host
from dataplane.js.quickjs import FALSE, TRUE, Arguments, Thrown, Value, is_text


def digest(host: Host, _count: int, argv: Arguments) -> Value:
    """The SHA-256 of a buffer."""
    algorithm = host.context.text(argv[1])
    if algorithm != "SHA-256":
        raise Thrown(f"Unsupported digest algorithm {algorithm}, expected SHA-256", "RangeError")
    return host.context.new_buffer(sha256(host.context.buffer(argv[2])).digest())


def is_valid_bundle(host: Host, _count: int, argv: Arguments) -> Value:
    """Whether a text is one or more PEM certificates."""
    return TRUE if load_bundle(_text(host, argv[1])) else FALSE


def is_valid_chain(host: Host, _count: int, argv: Arguments) -> Value:
    """Whether the first certificate of a chain leads, through the rest, to a trusted one."""
    valid = is_chain_valid(_text(host, argv[1]), _text(host, argv[2]), datetime.now(UTC))
    return TRUE if valid else FALSE


def pem_to_id(host: Host, _count: int, argv: Arguments) -> Value:
    """The fingerprint of a PEM certificate: SHA-256 of its DER, lower-case hex."""
    certificates = load_bundle(_text(host, argv[1]))
    if not certificates:
        raise Thrown("Failed to parse PEM: no certificate in the text", "InternalError")
    return host.context.new_text(certificates[0].fingerprint(SHA256()).hex())


def _text(host: Host, value: Value) -> str:
    if not is_text(value):
        raise Thrown("Argument must be a string", "TypeError")
    return host.context.text(value)
