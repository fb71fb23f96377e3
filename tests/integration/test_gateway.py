"""The gateway over real sockets: bytes both ways, a dead node passed over, routes that come and go."""

import asyncio
from collections.abc import Mapping

from controlplane.gateway.forward import Gateway
from controlplane.gateway.routes import Route
from tests.support.nodes import free_port


async def _echo(tag: bytes) -> tuple[asyncio.Server, int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(tag + await reader.read())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, int(server.sockets[0].getsockname()[1])


async def _ask(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


def test_connections_reach_living_nodes_and_survive_a_database_that_cannot_be_read() -> None:
    async def play() -> None:
        server, echo_port = await _echo(b"node:")
        public, dead = free_port(), free_port()
        routes: dict[int, Route] = {public: Route(public, (("127.0.0.1", dead), ("127.0.0.1", echo_port)))}
        readable = True

        def read() -> Mapping[int, Route]:
            if not readable:
                raise OSError("no database")
            return dict(routes)

        gateway = Gateway("127.0.0.1", read)
        stopping = asyncio.Event()
        running = asyncio.create_task(gateway.run(stopping))
        await asyncio.sleep(0.3)
        big = b"x" * 300_000
        assert [await _ask(public, big) for _ in range(3)] == [b"node:" + big] * 3
        readable = False
        await asyncio.sleep(0.3)
        assert await _ask(public, b"still") == b"node:still"
        readable = True
        routes.clear()
        await asyncio.sleep(0.3)
        try:
            await _ask(public, b"")
        except ConnectionRefusedError:
            pass
        else:
            raise AssertionError("a route that is gone is still listened on")
        stopping.set()
        await running
        server.close()

    asyncio.run(play())


def test_a_route_without_a_living_node_ends_the_connection() -> None:
    async def play() -> bytes:
        public = free_port()
        gateway = Gateway("127.0.0.1", lambda: {public: Route(public, (("127.0.0.1", free_port()),))})
        stopping = asyncio.Event()
        running = asyncio.create_task(gateway.run(stopping))
        await asyncio.sleep(0.2)
        answer = await _ask(public, b"")
        stopping.set()
        await running
        return answer

    assert asyncio.run(play()) == b""
