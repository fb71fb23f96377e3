"""Bytes from a client to one healthy node and back; TLS is never opened, so the gateway can read nothing.

A node is chosen when the client's first bytes are there: whoever only looks whether the port is open disturbs no node,
and a node that cannot be reached costs the client nothing but the time of a connect. A connection stays with its node.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Sequence

from controlplane.gateway.routes import Address, RouteTable

CONNECT_TIMEOUT_S = 1.0
FIRST_BYTES_TIMEOUT_S = 60.0
CHUNK = 64 * 1024

_log = logging.getLogger("mccf.gateway")


class Gateway:
    """Listens on the ports of a route table and follows its changes."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._table = RouteTable({})
        self._servers: dict[int, asyncio.Server] = {}
        self._connections: dict[int, set[asyncio.Task[None]]] = {}
        self._turns = itertools.count()

    @property
    def ports(self) -> frozenset[int]:
        """Where it listens now."""
        return frozenset(self._servers)

    async def follow(self, table: RouteTable) -> None:
        """Listen where the table says and nowhere else. A port that is taken is tried again with the next table."""
        self._table = table
        for port in set(self._servers) - set(table.ports):
            self._servers.pop(port).close()
            for task in self._connections.pop(port, set()):
                task.cancel()
        for port in sorted(set(table.ports) - set(self._servers)):
            try:
                self._servers[port] = await asyncio.start_server(self._serve(port), self._host, port)
            except OSError as error:
                _log.error("cannot listen on port %d: %s", port, error)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        tasks = [task for port in self._connections.values() for task in port]
        await self.follow(RouteTable({}))
        await asyncio.gather(*tasks, return_exceptions=True)

    def _serve(self, port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._forward(port, reader, writer))
            connections = self._connections.setdefault(port, set())
            connections.add(task)
            task.add_done_callback(connections.discard)

        return accept

    async def _forward(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await asyncio.wait_for(reader.read(CHUNK), FIRST_BYTES_TIMEOUT_S)
            candidates = self._table.candidates(port, next(self._turns))
            node = await connect_any(candidates) if first else None
            if node is not None:
                await _join(first, (reader, writer), node)
        except (OSError, TimeoutError):
            pass  # either side went away, which the other side learns by the close below
        finally:
            await _close(writer)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect_any(candidates: Sequence[Address]) -> Streams | None:
    """A connection to the first of the candidates that accepts one; None when none does."""
    for host, port in candidates:
        with contextlib.suppress(OSError, TimeoutError):
            return await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_TIMEOUT_S)
    return None


async def _join(first: bytes, client: Streams, node: Streams) -> None:
    """Pass bytes both ways until both sides are done, or one breaks."""
    client_reader, client_writer = client
    node_reader, node_writer = node
    try:
        node_writer.write(first)
        up = asyncio.ensure_future(_pump(client_reader, node_writer))
        down = asyncio.ensure_future(_pump(node_reader, client_writer))
        try:
            await asyncio.gather(up, down)
        finally:
            up.cancel()
            down.cancel()
    finally:
        await _close(node_writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction; the end of one side's bytes is passed on, the other direction goes on."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.close()
        await writer.wait_closed()
