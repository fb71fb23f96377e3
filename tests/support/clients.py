"""Plain HTTPS clients for tests: they follow no redirection, repeat nothing, and say whom they met."""

import ssl
from pathlib import Path

import httpx


def client(address: str, certificate_pem: str, identity: tuple[Path, Path] | None = None) -> httpx.Client:
    """A client of the node at `host:port`, trusting `certificate_pem` alone: a service's, or a node's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificate_pem)
    # a node's self-signed certificate is a leaf, and trusted as it is
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if identity is not None:
        context.load_cert_chain(*identity)
    return httpx.Client(base_url=f"https://{address}", verify=context, trust_env=False, timeout=10)
