"""An HTTP server of ours in a thread of its own, so that tests may block on sockets and processes."""

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Self

import uvloop

from dataplane.config import Address, Authority, HttpLimits, Interface
from dataplane.http.message import HttpRequest, HttpResponse
from dataplane.http.protocol import Dispatch, Reply, Session
from dataplane.http.server import HttpServer
from tests.support.identities import Identity, client_context, node_identity

SERVER_IDENTITY = node_identity("server")


def interface(
    name: str = "main", *, authority: Authority = Authority.NODE, limits: HttpLimits | None = None,
    soft: int = 1000, hard: int = 1010,
) -> Interface:  # fmt: skip
    """An interface on a free port of 127.0.0.1."""
    address = Address("127.0.0.1", 0)
    return Interface(name, address, address, authority, limits or HttpLimits(), soft, hard, 3000, None, {})


def echo(session: Session, request: HttpRequest, reply: Reply) -> None:
    """Say what was asked, and by whom."""
    text = f"{request.method} {request.url} {len(request.body)} {session.peer_id} {session.interface}"
    reply(HttpResponse(200, {"content-type": "text/plain", "X-Session": str(session.id)}, text.encode()))


class ServerThread:
    """`with ServerThread(dispatch, [interface()]) as server:`; what reached the loop or the log unhandled fails it."""

    def __init__(
        self, dispatch: Dispatch = echo, interfaces: list[Interface] | None = None, *,
        idle_timeout_ms: int = 60_000, certificate: Identity | None = SERVER_IDENTITY,
    ) -> None:  # fmt: skip
        self._dispatch = dispatch
        self._interfaces = interfaces or [interface()]
        self._idle_timeout_ms = idle_timeout_ms
        self._certificate = certificate
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._main()))
        self.unhandled: list[Any] = []
        self.addresses: dict[str, Address] = {}
        self.loop: asyncio.AbstractEventLoop
        self.server: HttpServer
        self._stop: asyncio.Event

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()
        assert not self.unhandled

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the server's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the server's loop and wait for its result."""

        async def call() -> Any:
            return function(*arguments)

        return self.run(call())

    def metrics(self, name: str = "main") -> Any:
        """The interface's part of the metrics."""
        return self.call(self.server.metrics)["interfaces"][name]

    def connect(self, name: str = "main", *, tls: ssl.SSLContext | bool = True) -> socket.socket:
        """A client's socket, through TLS unless told otherwise."""
        address = self.addresses[name]
        plain = socket.create_connection((address.host, address.port), timeout=10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is False:
            return plain
        context = client_context() if tls is True else tls
        return context.wrap_socket(plain, server_hostname="localhost")

    def url(self, path: str = "/", name: str = "main", scheme: str = "https") -> str:
        return f"{scheme}://{self.addresses[name]}{path}"

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(lambda _, context: self.unhandled.append(context))
        trap = _Trap(self.unhandled)
        logging.getLogger("http").addHandler(trap)
        self._stop = asyncio.Event()
        self.server = HttpServer(self._dispatch, idle_timeout_ms=self._idle_timeout_ms)
        for each in self._interfaces:
            self.addresses[each.name] = await self.server.listen(each)
        if self._certificate is not None:
            for authority in (Authority.NODE, Authority.SERVICE):
                self.server.set_certificate(authority, self._certificate.certificate_pem, self._certificate.key_pem)
        self._started.set()
        await self._stop.wait()
        await self.server.close(grace_ms=500)
        logging.getLogger("http").removeHandler(trap)


class _Trap(logging.Handler):
    def __init__(self, caught: list[Any]) -> None:
        super().__init__(logging.WARNING)
        self._caught = caught

    def emit(self, record: logging.LogRecord) -> None:
        self._caught.append(record.getMessage())


def read_to_end(sock: socket.socket) -> bytes:
    """All that comes until the connection ends, however it ends."""
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except (ConnectionError, ssl.SSLError):
        pass
    return data


def read_response(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One response: status, headers, body; what follows it is lost."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    while len(body) < int(headers.get("content-length", "0")):
        piece = sock.recv(65536)
        assert piece, "the connection ended within a body"
        body += piece
    return int(lines[0].split(" ")[1]), headers, body


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 8.0) -> None:
    """Wait for something to become true; the failure says what was waited for."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s in vain for: {what}"
        time.sleep(0.005)
