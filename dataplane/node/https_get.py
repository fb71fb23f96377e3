"""One GET over HTTPS, by named authorities: how a node reads what a token issuer publishes (node-api.md 3.2).

The bundle decides whom to trust. A server whose very certificate stands in it is trusted by that; any other server must
also be the host the URL names.
"""

import asyncio
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import httptools
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_HTTPS_PORT = 443
_MAX_ANSWER_BYTES = 1 << 20
_READ_BYTES = 65_536


class HttpsFailed(Exception):
    """No answer: the URL cannot be asked, or the connection, its TLS or its HTTP failed. The text says which."""


@dataclass(frozen=True, slots=True)
class HttpsAnswer:
    """Status and body. Redirects are not followed: they are an answer as any other."""

    status: int
    body: bytes


async def https_get(url: str, bundle_pem: str, timeout_s: float) -> HttpsAnswer:
    """Ask `url`, whose server one of the certificates in `bundle_pem` must vouch for. Raises `HttpsFailed`."""
    host, port, target = _parts(url)
    context, pinned = _trust(bundle_pem)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
            try:
                _check_server(writer.get_extra_info("ssl_object").getpeercert(binary_form=True), host, pinned)
                writer.write(f"GET {target} HTTP/1.1\r\nhost: {_authority(host, port)}\r\n{_FIELDS}\r\n\r\n".encode())
                return await _answer(reader)
            finally:
                writer.transport.abort()
    except TimeoutError as error:
        raise HttpsFailed(f"{url} did not answer in {timeout_s} s") from error
    except (OSError, UnicodeError) as error:  # ssl.SSLError is an OSError; UnicodeError: a host that cannot be a name
        raise HttpsFailed(f"{url} cannot be reached: {error}") from error


_FIELDS = "accept: application/json\r\nconnection: close"


def _parts(url: str) -> tuple[str, int, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _HTTPS_PORT
    except ValueError as error:
        raise HttpsFailed(f"{url!r} is no URL: {error}") from error
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme != "https" or not host or not target.isascii() or not target.isprintable() or " " in target:
        raise HttpsFailed(f"{url!r} is no https URL that can be asked")
    return host, port, target


def _authority(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == _HTTPS_PORT else f"{name}:{port}"


def _trust(bundle_pem: str) -> tuple[ssl.SSLContext, frozenset[bytes]]:
    """TLS that trusts exactly the certificates of the bundle, and those certificates in DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # `_check_server` does it
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=bundle_pem)
        certificates = x509.load_pem_x509_certificates(bundle_pem.encode())
    except (ssl.SSLError, ValueError) as error:
        raise HttpsFailed(f"the CA certificate bundle cannot be used: {error}") from error
    return context, frozenset(certificate.public_bytes(Encoding.DER) for certificate in certificates)


def _check_server(der: bytes | None, host: str, pinned: frozenset[bytes]) -> None:
    if der is None or (der not in pinned and not _names(der, host)):
        raise HttpsFailed(f"the server of {host} presents a certificate of another name")


def _names(der: bytes, host: str) -> bool:
    """Whether the certificate's alternative names hold `host` (RFC 9525: a wildcard is one whole leftmost label)."""
    try:
        extensions = x509.load_der_x509_certificate(der).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    try:
        return ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        pass
    wanted = host.lower().rstrip(".")
    wildcard = f"*.{wanted.partition('.')[2]}" if wanted.count(".") > 1 else None
    return any(name.lower() in (wanted, wildcard) for name in names.get_values_for_type(x509.DNSName))


class _Parsed:
    """What the parser has seen of the answer."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.length_told = False
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.length_told = self.length_told or name.lower() in (b"content-length", b"transfer-encoding")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


async def _answer(reader: asyncio.StreamReader) -> HttpsAnswer:
    parsed = _Parsed()
    parser = httptools.HttpResponseParser(parsed)
    received = 0
    while not parsed.complete:
        data = await reader.read(_READ_BYTES)
        if not data:
            if received and not parsed.length_told:  # the end of the connection is the end of the body
                break
            raise HttpsFailed("the connection was closed before the answer was whole")
        received += len(data)
        if received > _MAX_ANSWER_BYTES:
            raise HttpsFailed(f"the answer is longer than {_MAX_ANSWER_BYTES} bytes")
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise HttpsFailed(f"the answer is no HTTP: {error}") from error
    return HttpsAnswer(parser.get_status_code(), bytes(parsed.body))
