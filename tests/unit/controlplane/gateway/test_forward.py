"""The gateway on loopback: real sockets, no TLS, because it never looks."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from controlplane.gateway import forward
from controlplane.gateway.forward import Gateway
from controlplane.gateway.routes import Address, Route

HOST = "127.0.0.1"


def test_bytes_pass_both_ways_unchanged_and_ends_are_passed_on() -> None:
    async def play() -> None:
        async with _node(b"A") as node, _gateway(node) as (_, port):
            payload = bytes(range(256)) * 4096
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(payload)
            writer.write_eof()
            assert await reader.read() == b"A" + payload
            writer.close()

    asyncio.run(play())


def test_connections_are_spread_and_each_stays_with_its_node() -> None:
    async def play() -> None:
        async with _node(b"A") as one, _node(b"B") as two, _gateway(one, two) as (_, port):
            assert {await _ask(port) for _ in range(4)} == {b"Ax", b"Bx"}

    asyncio.run(play())


def test_a_node_that_does_not_accept_is_passed_over() -> None:
    async def play() -> None:
        gone = (HOST, _free_port())
        async with _node(b"A") as node, _gateway(gone, node) as (_, port):
            assert [await _ask(port) for _ in range(4)] == [b"Ax"] * 4

    asyncio.run(play())


def test_without_any_node_the_client_is_hung_up_on() -> None:
    async def play() -> None:
        async with _gateway() as (_, port):
            assert await _ask(port) == b""

    asyncio.run(play())


def test_a_look_at_the_port_disturbs_no_node() -> None:
    async def play() -> None:
        async with _node(b"A") as node, _gateway(node) as (_, port):
            _, writer = await asyncio.open_connection(HOST, port)
            writer.close()
            await writer.wait_closed()
            await asyncio.sleep(0.05)
            assert _node_connections[node] == 0
            assert await _ask(port) == b"Ax"
            assert _node_connections[node] == 1

    asyncio.run(play())


def test_new_routes_apply_to_new_connections_and_leave_old_ones_alone() -> None:
    async def play() -> None:
        async with _node(b"A") as one, _node(b"B") as two, _gateway(one) as (gateway, port):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"1")
            assert await reader.readexactly(2) == b"A1"
            _routes[port] = (two,)
            await gateway.refresh()
            assert await _ask(port) == b"Bx"
            writer.write(b"2")
            assert await reader.readexactly(1) == b"2"
            writer.close()

    asyncio.run(play())


def test_a_port_that_goes_is_closed_with_its_connections() -> None:
    async def play() -> None:
        async with _node(b"A") as node, _gateway(node) as (gateway, port):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"1")
            await reader.readexactly(2)
            del _routes[port]
            await gateway.refresh()
            assert await asyncio.wait_for(reader.read(), 2) == b""
            writer.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(HOST, port)

    asyncio.run(play())


def test_a_port_someone_else_has_is_tried_again() -> None:
    async def play() -> None:
        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
            gateway = Gateway(HOST, lambda: {port: Route(port, ())})
            await gateway.refresh()
        await gateway.refresh()
        assert await _ask(port) == b""
        await _end(gateway)

    asyncio.run(play())


def test_a_client_that_never_speaks_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "FIRST_BYTES_TIMEOUT_S", 0.05)

    async def play() -> None:
        async with _node(b"A") as node, _gateway(node) as (_, port):
            reader, writer = await asyncio.open_connection(HOST, port)
            assert await asyncio.wait_for(reader.read(), 2) == b""
            writer.close()

    asyncio.run(play())


def test_a_node_that_dies_ends_the_connection_and_the_next_one_finds_another() -> None:
    async def play() -> None:
        async with _node(b"B") as other, _node(b"A") as node, _gateway(node, other) as (_, port):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"1")
            first = await reader.readexactly(2)
            assert first in (b"A1", b"B1")
            if first == b"B1":
                writer.close()
                reader, writer = await asyncio.open_connection(HOST, port)
                writer.write(b"1")
                assert await reader.readexactly(2) == b"A1"
            _stop[node]()
            assert await asyncio.wait_for(reader.read(), 2) == b""
            writer.close()
            assert await _ask(port) == b"Bx"
            assert await _ask(port) == b"Bx"

    asyncio.run(play())


_node_connections: dict[Address, int] = {}
_stop: dict[Address, Callable[[], None]] = {}
_routes: dict[int, tuple[Address, ...]] = {}


@asynccontextmanager
async def _node(name: bytes) -> AsyncIterator[Address]:
    """Says its name once, then echoes."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _node_connections[address] += 1
        writers.append(writer)
        writer.write(name)
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    address: Address = server.sockets[0].getsockname()[:2]
    _node_connections[address] = 0

    def stop() -> None:
        server.close()
        for writer in writers:
            writer.transport.abort()

    _stop[address] = stop
    yield address
    stop()


@asynccontextmanager
async def _gateway(*nodes: Address) -> AsyncIterator[tuple[Gateway, int]]:
    port = _free_port()
    _routes.clear()
    _routes[port] = nodes
    gateway = Gateway(HOST, lambda: {p: Route(p, addresses) for p, addresses in _routes.items()})
    await gateway.refresh()
    yield gateway, port
    await _end(gateway)


async def _end(gateway: Gateway) -> None:
    stopping = asyncio.Event()
    stopping.set()
    await gateway.run(stopping)


async def _ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"x")
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return answer


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
