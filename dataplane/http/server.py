"""The interfaces a node listens on: certificates, session caps, idle sessions, counters (node-api.md 1.5, 2.2)."""

import asyncio
import socket
from itertools import count

from dataplane.config import Address, Authority, Interface
from dataplane.http.port import ListeningPort
from dataplane.http.protocol import Dispatch, HttpConnection
from dataplane.http.tls import TlsServerContext

_BACKLOG = 1024
_SWEEPS_PER_IDLE_TIMEOUT = 8
_LONGEST_SWEEP_S = 5.0


class HttpServer:
    """All RPC interfaces of a node, in one event loop.

    `dispatch` is called for each request (see `Dispatch`). A session on which nothing happens for `idle_timeout_ms`
    is closed.
    """

    def __init__(self, dispatch: Dispatch, *, idle_timeout_ms: int = 60_000) -> None:
        self._dispatch = dispatch
        self._idle_timeout_s = idle_timeout_ms / 1000
        self._ports: dict[str, ListeningPort] = {}
        self._session_ids = count(1)
        self._sweep: asyncio.TimerHandle | None = None
        self._peak = 0

    async def listen(self, interface: Interface) -> Address:
        """Bind, and give the address with its port resolved. Raises `OSError` when it cannot be had.

        A `Node` or `Service` interface closes what connects until `set_certificate` has given it one.
        """
        loop = asyncio.get_running_loop()
        port = ListeningPort(interface, self._dispatch, self._session_ids, self._note_peak)
        self._ports[interface.name] = port
        port.server = await loop.create_server(
            lambda: HttpConnection(port, loop), interface.bind.host, interface.bind.port, backlog=_BACKLOG
        )
        if self._sweep is None:
            self._schedule_sweep()
        return _bound_address(port.server.sockets[0])

    def set_certificate(self, authority: Authority, certificate_pem: str, key_pem: str) -> None:
        """Present this certificate on new connections to the interfaces endorsed by `authority`; existing sessions go
        on as they are. Raises `ValueError` when key and certificate do not fit, and then changes nothing."""
        context = TlsServerContext(certificate_pem, key_pem)
        for port in self._ports.values():
            if port.authority is authority:
                port.context = context

    def metrics(self) -> dict[str, object]:
        """The `sessions` object of `/node/metrics`."""
        return {
            "active": self._active(),
            "peak": self._peak,
            "interfaces": {name: port.metrics() for name, port in self._ports.items()},
        }

    async def close(self, *, grace_ms: int = 2_000) -> None:
        """Stop listening, let requests under way be answered for at most `grace_ms`, then drop what is left."""
        if self._sweep is not None:
            self._sweep.cancel()
        for port in self._ports.values():
            port.stop()
        deadline_s = asyncio.get_running_loop().time() + grace_ms / 1000
        while self._active() and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(0.01)
        self.abort()
        await asyncio.sleep(0)  # the transports report their end in the next turn

    def abort(self) -> None:
        """Drop every session at once."""
        for port in self._ports.values():
            port.abort()

    def _active(self) -> int:
        return sum(len(port.connections) for port in self._ports.values())

    def _note_peak(self) -> None:
        self._peak = max(self._peak, self._active())

    def _schedule_sweep(self) -> None:
        interval_s = min(_LONGEST_SWEEP_S, self._idle_timeout_s / _SWEEPS_PER_IDLE_TIMEOUT)
        self._sweep = asyncio.get_running_loop().call_later(interval_s, self._expire_idle)

    def _expire_idle(self) -> None:
        oldest_s = asyncio.get_running_loop().time() - self._idle_timeout_s
        for port in self._ports.values():
            port.expire(oldest_s)
        self._schedule_sweep()


def _bound_address(listening: socket.socket) -> Address:
    host, port = listening.getsockname()[:2]
    return Address(host, port)
