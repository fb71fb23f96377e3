"""One stable address per instance: bytes go through to a node that lives, TLS is never opened (architecture 3).

Routes come from the database and are read again every poll. While it cannot be read, the last ones stand, so gateway
and nodes go on when the control plane is down. A connection keeps its node; a new one tries the nodes in turn.

A node is chosen when the client's first bytes are there (in TLS the client speaks first): whoever only looks whether
the port is open disturbs no node, and a node that cannot be reached costs a client nothing but a connect.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from controlplane.gateway.routes import Address, Route, attempts, changes

POLL_S = 0.1
CONNECT_TIMEOUT_S = 0.5
FIRST_BYTES_TIMEOUT_S = 60.0
_CHUNK_BYTES = 65_536

_LOG = logging.getLogger("mccf.gateway")

ReadRoutes = Callable[[], Mapping[int, Route]]
"""The routes by port; may block, and raise when the database cannot be read."""


class Gateway:
    """Listens on `host` for every route; lives in one event loop."""

    def __init__(self, host: str, read_routes: ReadRoutes) -> None:
        self._host = host
        self._read_routes = read_routes
        self._routes: Mapping[int, Route] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self._connections: dict[int, set[asyncio.Task[None]]] = {}
        self._turn = 0
        self._failing = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Follow the routes until told to stop, then close everything."""
        while not stopping.is_set():
            await self.refresh()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), POLL_S)
        tasks = [task for port in self._connections.values() for task in port]
        for port in list(self._servers):
            self._close(port)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def refresh(self) -> None:
        """Read the routes once and make the listeners match them."""
        try:
            self._routes = await asyncio.to_thread(self._read_routes)
        except Exception:
            if not self._failing:
                _LOG.exception("the routes cannot be read; the last ones stand")
            self._failing = True
            return
        self._failing = False
        wanted = changes(self._servers, self._routes)
        for port in wanted.close:
            self._close(port)
        for port in wanted.open:
            await self._open(port)

    async def _open(self, port: int) -> None:
        connections = self._connections.setdefault(port, set())

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._serve(port, reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        try:
            self._servers[port] = await asyncio.start_server(accept, self._host, port, backlog=1024)
            _LOG.info("listening on %s:%d", self._host, port)
        except OSError as error:
            _LOG.warning("cannot listen on %s:%d: %s", self._host, port, error)

    def _close(self, port: int) -> None:
        """Stop listening, and hang up on the clients of an instance that is gone."""
        self._servers.pop(port).close()
        for task in self._connections.pop(port, set()):
            task.cancel()

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(FIRST_BYTES_TIMEOUT_S):
                first = await reader.read(_CHUNK_BYTES)
            node = await self._connect(port) if first else None
            if node is not None:
                await _pass_bytes(first, reader, writer, *node)
        except (OSError, TimeoutError):
            pass  # either side went away; the client sees its connection end
        finally:
            writer.close()

    async def _connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        route = self._routes.get(port)
        self._turn += 1
        for address in attempts(route.nodes if route else (), self._turn):
            connected = await _try(address)
            if connected is not None:
                return connected
        return None


async def _try(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await asyncio.open_connection(*address)
    except (OSError, TimeoutError):
        return None


async def _pass_bytes(
    first: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    node_reader: asyncio.StreamReader,
    node_writer: asyncio.StreamWriter,
) -> None:
    """Both directions until both have ended or one breaks; a half-closed connection is passed on as such."""
    node_writer.write(first)
    up = asyncio.ensure_future(_pump(reader, node_writer))
    down = asyncio.ensure_future(_pump(node_reader, writer))
    try:
        await asyncio.gather(up, down)
    finally:
        up.cancel()
        down.cancel()
        node_writer.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK_BYTES):
        target.write(data)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
