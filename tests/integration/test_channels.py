"""Node-to-node channels over real sockets: who may talk, what is lost, what strangers can do."""

import asyncio
import os
import socket
import ssl
import time
from contextlib import suppress

import pytest

from dataplane.config import Address
from dataplane.http.tls import TlsClientContext
from dataplane.node.channels import MESSAGES, ChannelLimits, Channels
from tests.support.identities import Identity, client_context, node_identity
from tests.support.loops import on_uvloop, until

pytestmark = pytest.mark.ci

LOCAL = Address("127.0.0.1", 0)
IDENTITIES = [node_identity(f"node {index}") for index in range(3)]
FAST = ChannelLimits(connect_timeout_ms=1_000, silence_timeout_ms=1_000, last_retry_ms=50)


class Peer:
    """A node reduced to its channels."""

    def __init__(
        self, identity: Identity, book: dict[str, Address], *, trusted: set[str] | None = None,
        limits: ChannelLimits = FAST, source_host: str | None = None,
    ) -> None:  # fmt: skip
        self.identity = identity
        self.id = identity.node_id
        self.heard: list[tuple[str, int, bytes]] = []
        self.book = book
        self.trusted = {each.node_id for each in IDENTITIES} if trusted is None else trusted
        self.asked: list[tuple[str, str]] = []
        self.channels = Channels(
            certificate_pem=identity.certificate_pem,
            key_pem=identity.key_pem,
            may_talk=self.may_talk,
            address_of=self.address_of,
            on_message=lambda *message: self.heard.append(message),
            limits=limits,
            source_host=source_host,
        )

    async def listen(self, bind: Address = LOCAL) -> "Peer":
        self.book[self.id] = await self.channels.listen(bind)
        return self

    def may_talk(self, node_id: str, certificate_pem: str) -> bool:
        self.asked.append((node_id, certificate_pem))
        return node_id in self.trusted

    def address_of(self, node_id: str) -> tuple[str, int] | None:
        address = self.book.get(node_id)
        return None if address is None else (address.host, address.port)

    def say(self, to: "Peer", payload: bytes, kind: int = 1) -> bool:
        return self.channels.send(to.id, kind, payload)


async def two(**options: object) -> tuple[Peer, Peer]:
    book: dict[str, Address] = {}
    return await Peer(IDENTITIES[0], book, **options).listen(), await Peer(IDENTITIES[1], book, **options).listen()


async def close(*peers: Peer) -> None:
    for peer in peers:
        await peer.channels.close()


async def ended(reader: asyncio.StreamReader) -> None:
    """Read to the end of a connection, however it ends."""
    with suppress(ConnectionError, ssl.SSLError):
        async with asyncio.timeout(5):
            while await reader.read(65536):
                pass


async def connect(one: Peer, other: Peer) -> None:
    one.channels.maintain([other.id])
    other.channels.maintain([one.id])
    await until(lambda: other.id in one.channels.connected() and one.id in other.channels.connected(), "connections")


@on_uvloop
async def test_frames_arrive_in_order_both_ways_and_name_their_sender() -> None:
    one, other = await two()
    assert one.say(other, b"first", 7)  # queued while dialling
    for index in range(100):
        assert one.say(other, b"%d" % index)
        assert other.say(one, b"back %d" % index, 254)
    await until(lambda: len(other.heard) == 101 and len(one.heard) == 100, "all frames")
    assert other.heard[0] == (one.id, 7, b"first")
    assert [payload for _, _, payload in other.heard[1:]] == [b"%d" % index for index in range(100)]
    assert one.heard[0] == (other.id, 254, b"back 0")
    assert one.asked[0] == (other.id, other.identity.certificate_pem)
    await close(one, other)


@on_uvloop
async def test_empty_and_large_frames() -> None:
    one, other = await two()
    large = os.urandom(3_000_000)
    assert one.say(other, b"")
    assert one.say(other, large)
    assert one.say(other, b"after")
    await until(lambda: len(other.heard) == 3, "three frames")
    assert [payload for _, _, payload in other.heard] == [b"", large, b"after"]
    await close(one, other)


@on_uvloop
async def test_a_frame_above_the_maximum_is_not_taken() -> None:
    one, other = await two(limits=ChannelLimits(max_frame_bytes=1000))
    assert not one.say(other, bytes(1001))
    assert one.say(other, bytes(1000))
    await until(lambda: len(other.heard) == 1, "the frame at the limit")
    await close(one, other)


@on_uvloop
async def test_an_oversized_frame_from_a_peer_costs_its_connection_only() -> None:
    book: dict[str, Address] = {}
    one = await Peer(IDENTITIES[0], book).listen()
    other = await Peer(IDENTITIES[1], book, limits=ChannelLimits(max_frame_bytes=1000)).listen()
    third = await Peer(IDENTITIES[2], book).listen()
    assert third.say(other, b"before")
    assert one.say(other, bytes(1001))
    await until(lambda: one.id in one.asked or bool(other.asked), "a handshake")
    await until(lambda: len(other.heard) == 1 and not one.channels.connected(), "the end of the connection")
    assert third.say(other, b"after")
    await until(lambda: len(other.heard) == 2, "the third node's frame")
    await until(lambda: one.say(other, b"small again") or len(other.heard) == 3, "a new connection")
    await until(lambda: len(other.heard) >= 3, "a frame on it")
    assert {sender for sender, _, _ in other.heard} == {one.id, third.id}
    await close(one, other, third)


@pytest.mark.parametrize("distrusting", [0, 1])
@on_uvloop
async def test_a_node_that_may_not_talk_is_not_heard(distrusting: int) -> None:
    one, other = await two()
    (one, other)[distrusting].trusted = set()
    one.say(other, b"secret")
    await until(lambda: not one.say(other, b"secret"), "a refusal")
    await asyncio.sleep(0.2)
    assert other.heard == []
    assert not one.channels.connected()
    one.trusted = other.trusted = {one.id, other.id}
    await until(lambda: one.say(other, b"now") and bool(other.heard), "a frame once both agree")
    await close(one, other)


@on_uvloop
async def test_another_identity_at_a_peers_address_gets_nothing() -> None:
    book: dict[str, Address] = {}
    one = await Peer(IDENTITIES[0], book).listen()
    other = await Peer(IDENTITIES[1], book).listen()
    await connect(one, other)
    address = book[other.id]
    await close(other)
    successor = await Peer(IDENTITIES[2], book).listen(address)
    await until(lambda: not one.channels.connected(), "the end of the connection")
    for _ in range(50):
        one.say(other, b"for the dead node")
        await asyncio.sleep(0.01)
    assert successor.heard == []
    assert one.say(successor, b"for the new node")
    await until(lambda: bool(successor.heard), "the new node's frame")
    link = successor.channels._incoming[one.id, MESSAGES]
    await asyncio.sleep(0.3)  # the connection for the dead node is tried again and again, to the same address
    assert successor.channels._incoming[one.id, MESSAGES] is link
    assert successor.heard == [(one.id, 1, b"for the new node")]
    await close(one, successor)


@on_uvloop
async def test_a_peer_that_does_not_greet_is_not_heard() -> None:
    one, other = await two()
    for first in (b"\x00\x00\x00\x02\x05ok", b"\x00\x00\x01\x90\xff" + b"x" * 400, b"\xff" * 5):
        tls = TlsClientContext(other.identity.certificate_pem, other.identity.key_pem).connection()
        reader, writer = await asyncio.open_connection(*one.address_of(one.id))
        writer.write(tls.start())
        while not tls.established:
            tls.feed(await reader.read(65536))
            writer.write(tls.take_ciphertext())
        writer.write(tls.write(first))
        await ended(reader)
        writer.close()
    assert one.heard == []
    await close(one, other)


@on_uvloop
async def test_a_peer_that_comes_back_is_dialled_anew() -> None:
    one, other = await two()
    await connect(one, other)
    address = one.book[other.id]
    await close(other)
    await until(lambda: not one.channels.connected(), "the end of the connection")
    again = await Peer(IDENTITIES[1], one.book).listen(address)
    await until(lambda: other.id in one.channels.connected(), "a new connection")
    assert one.say(again, b"welcome back")
    await until(lambda: again.heard == [(one.id, 1, b"welcome back")], "the frame")
    await close(one, again)


@on_uvloop
async def test_nobody_there_refuses_frames_instead_of_hoarding_them() -> None:
    book: dict[str, Address] = {}
    one = await Peer(IDENTITIES[0], book).listen()
    with socket.create_server(("127.0.0.1", 0)) as unused:
        book[IDENTITIES[1].node_id] = Address(*unused.getsockname())
    await until(lambda: not one.channels.send(IDENTITIES[1].node_id, 1, b"x"), "a refusal")
    await until(lambda: not one.channels.send("no address known", 1, b"x"), "a refusal without an address")
    await close(one)


@on_uvloop
async def test_a_peer_that_accepts_and_says_nothing_is_given_up() -> None:
    book: dict[str, Address] = {}
    one = await Peer(IDENTITIES[0], book, limits=ChannelLimits(connect_timeout_ms=200)).listen()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        book[IDENTITIES[1].node_id] = Address(*silent.getsockname())
        one.channels.send(IDENTITIES[1].node_id, 1, b"x")
        started_s = time.monotonic()
        await until(lambda: not one.channels.send(IDENTITIES[1].node_id, 1, b"x"), "a refusal")
        assert time.monotonic() - started_s < 1.5
    await close(one)


@on_uvloop
async def test_a_peer_that_stops_reading_is_given_up_and_bounds_what_is_kept() -> None:
    one, other = await two(limits=ChannelLimits(max_unsent_bytes=4 << 20, silence_timeout_ms=500))
    await connect(one, other)
    incoming = next(iter(other.channels._incoming.values()))
    assert incoming._transport is not None
    incoming._transport.pause_reading()
    await until(lambda: not one.say(other, bytes(1 << 20)), "a full queue")
    await until(lambda: not one.channels.connected(), "the end of the connection")
    await close(one, other)


@on_uvloop
async def test_dropped_nodes_are_disconnected_both_ways_and_may_come_again() -> None:
    one, other = await two()
    await connect(one, other)
    one.channels.maintain([])
    await until(lambda: one.id not in other.channels.connected(), "the other side noticing")
    assert not one.channels.connected()
    other.heard.clear()
    await until(lambda: other.say(one, b"again"), "a new connection")
    await until(lambda: bool(one.heard), "its frame")
    await close(one, other)


@on_uvloop
async def test_a_peer_that_leaves_gets_what_was_said_to_it_last() -> None:
    """Megabytes wait when leave is taken, the last word behind them; a drop loses it."""
    for leave, arrives in (("take_leave", True), ("drop", False)):
        one, other = await two()
        await connect(one, other)
        for _ in range(8):
            assert one.say(other, bytes(1 << 20))
        assert one.say(other, b"farewell")
        getattr(one.channels, leave)(other.id)
        assert other.id not in one.channels.connected()
        await until(lambda other=other: not other.channels._incoming, "the end of the connection")  # type: ignore[misc]
        assert ((one.id, 1, b"farewell") in other.heard) is arrives
        await close(one, other)


@on_uvloop
async def test_peers_no_longer_kept_are_not_dialled_again() -> None:
    one, other = await two()
    one.channels.keep([other.id])
    await until(lambda: other.id in one.channels.connected(), "a connection without anything to send")
    one.channels.keep([])
    assert one.say(other, b"goes on")
    await until(lambda: bool(other.heard), "a frame on the connection that stays")
    other.asked.clear()
    one.channels._links[other.id]._connection.abort()  # type: ignore[union-attr]
    await until(lambda: not one.channels.connected(), "the end of the connection")
    await asyncio.sleep(0.3)
    assert not other.asked
    await until(lambda: one.say(other, b"again"), "a new connection when there is something")
    await close(one, other)


@on_uvloop
async def test_a_peer_nobody_told_us_of_is_answered_where_it_says() -> None:
    """The primary may be a node whose joining has not reached us: it is heard, and our answers find it."""
    book: dict[str, Address] = {}
    known, newcomer = await Peer(IDENTITIES[0], book).listen(), Peer(IDENTITIES[1], book)
    newcomer.channels.own_address = str(await newcomer.channels.listen(LOCAL))
    assert known.address_of(newcomer.id) is None
    assert newcomer.say(known, b"who am I")
    await until(lambda: bool(known.heard), "the newcomer's frame")
    await until(lambda: known.say(newcomer, b"I have your address"), "a connection back")
    await until(lambda: bool(newcomer.heard), "the answer")
    known.channels.take_leave(newcomer.id)
    await until(lambda: not known.say(newcomer, b"gone"), "its address being forgotten")
    await close(known, newcomer)


@pytest.mark.parametrize("address", [b"no port", b"host:0", b"host:99999", b":80", b"a\x00b:1"])
@on_uvloop
async def test_an_address_that_is_none_is_not_dialled(address: bytes) -> None:
    known, newcomer = await two()
    del known.book[newcomer.id]
    newcomer.channels.own_address = address.decode()
    assert newcomer.say(known, b"x")
    await until(lambda: bool(known.heard), "the newcomer's frame")
    await until(lambda: not known.say(newcomer, b"where"), "a refusal")
    await close(known, newcomer)


@on_uvloop
async def test_a_newer_connection_replaces_an_older_one() -> None:
    one, other = await two()
    await connect(one, other)
    first = other.channels._incoming[one.id, MESSAGES]
    twin = Peer(IDENTITIES[0], one.book)
    assert twin.say(other, b"from the twin")
    await until(lambda: bool(other.heard), "the twin's frame")
    assert other.channels._incoming[one.id, MESSAGES] is not first
    assert first._over
    await close(one, other, twin)


@on_uvloop
async def test_certificates_are_swapped_for_new_connections() -> None:
    one, other = await two()
    await connect(one, other)
    renewed = IDENTITIES[2]
    one.channels.set_certificate(renewed.certificate_pem, renewed.key_pem)
    assert one.say(other, b"old connection")
    await until(lambda: bool(other.heard), "a frame on the old connection")
    one.channels.drop(other.id)
    assert one.say(other, b"new connection")
    await until(lambda: len(other.heard) == 2, "a frame on the new connection")
    assert [sender for sender, _, _ in other.heard] == [one.id, renewed.node_id]
    await close(one, other)


@on_uvloop
async def test_the_source_address_is_the_configured_one() -> None:
    book: dict[str, Address] = {}
    one = await Peer(IDENTITIES[0], book, source_host="127.0.0.7").listen()
    other = await Peer(IDENTITIES[1], book).listen()
    assert one.say(other, b"x")
    await until(lambda: bool(other.heard), "the frame")
    incoming = next(iter(other.channels._incoming.values()))
    assert incoming._transport is not None
    assert incoming._transport.get_extra_info("peername")[0] == "127.0.0.7"
    await close(one, other)


@on_uvloop
async def test_garbage_and_half_open_strangers_do_no_harm() -> None:
    limits = ChannelLimits(max_strangers=8, connect_timeout_ms=400)
    one, other = await two(limits=limits)
    address = one.book[one.id]
    strangers = []
    for index in range(40):
        _, writer = await asyncio.open_connection(address.host, address.port)
        strangers.append(writer)
        writer.write(
            (b"", b"\x00" * 10, os.urandom(2000), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x40\x00")[index % 5]
        )
    await asyncio.sleep(0.1)
    assert len(one.channels._strangers) <= 8
    assert other.say(one, b"still here")
    await until(lambda: bool(one.heard), "a peer's frame among strangers")
    await until(lambda: not one.channels._strangers, "strangers running out of time")
    for writer in strangers:
        writer.close()
    await close(one, other)


@on_uvloop
async def test_a_client_without_certificate_is_refused() -> None:
    one, other = await two()
    reader, writer = await asyncio.open_connection(*one.address_of(one.id))
    with suppress(ssl.SSLError, ConnectionError):  # with TLS 1.3 a client learns of the refusal when it reads
        await writer.start_tls(client_context())
        writer.write(b"\x00\x00\x00\x01\x01x")
    await ended(reader)
    assert one.heard == []
    await close(one, other)


@on_uvloop
async def test_garbage_inside_tls_from_a_trusted_peer_costs_its_connection() -> None:
    one, other = await two(limits=ChannelLimits(max_frame_bytes=1 << 16))
    tls = TlsClientContext(other.identity.certificate_pem, other.identity.key_pem).connection()
    reader, writer = await asyncio.open_connection(*one.address_of(one.id))
    writer.write(tls.start())
    while not tls.established:
        tls.feed(await reader.read(65536))
        writer.write(tls.take_ciphertext())
    writer.write(tls.write(b"\x00\x00\x00\x00\xff" + b"\x00\x00\x00\x02\x05ok" + b"\xff" * 100))
    await ended(reader)
    assert one.heard == [(other.id, 5, b"ok")]
    assert other.say(one, b"fine")
    await until(lambda: len(one.heard) == 2, "a frame on a new connection")
    writer.close()
    await close(one, other)
