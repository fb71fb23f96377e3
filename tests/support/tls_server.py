"""A small HTTPS server with a service's and a node's certificate, for tests of what talks to one."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.crypto.certs import create_csr, endorse_node_csr, self_signed_service_certificate
from dataplane.crypto.keys import private_pem


@dataclass(frozen=True)
class Asked:
    """A request the server received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: str | None  # common name of the client's certificate


Answer = tuple[int, dict[str, str], bytes]


class ServiceIdentity:
    """A fresh service key and certificate, and node certificates it endorses."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.start = datetime.now(UTC) - timedelta(minutes=1)
        self.certificate = self_signed_service_certificate(self.key, "CN=CCF Service", 1, self.start, 30)

    def node(self, *sans: str, age_days: int = 0) -> tuple[ec.EllipticCurvePrivateKey, str]:
        """A node's key and its endorsed certificate."""
        key = ec.generate_private_key(ec.SECP384R1())
        csr = create_csr(key, "CN=CCF Node", sans)
        start = self.start - timedelta(days=age_days)
        return key, endorse_node_csr(self.key, self.certificate, csr, 2, start, 1)


@contextmanager
def serving(
    answer: Callable[[Asked], Answer], certificate: str, key: ec.EllipticCurvePrivateKey, directory: Path
) -> Iterator[str]:
    """Serve `answer` on a loopback port with this certificate; gives the URL. Client certificates are asked for."""
    pem = directory / "server.pem"
    pem.write_text(private_pem(key) + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    if (clients := directory / "clients.pem").exists():
        context.load_verify_locations(clients)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answer))
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(answer: Callable[[Asked], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the client refused our certificate, or went away
                self.close_connection = True

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            peer = self.connection.getpeercert()  # type: ignore[attr-defined]
            names = [value for rdn in (peer or {}).get("subject", ()) for name, value in rdn if name == "commonName"]
            asked = Asked(self.command, self.path, dict(self.headers.items()), body, names[0] if names else None)
            status, headers, content = answer(asked)
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = respond

        def log_message(self, *_: object) -> None:
            pass

    return Handler
