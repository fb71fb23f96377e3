"""Mutually authenticated, encrypted TCP between nodes (drop-in.md 3.4: the protocol is ours).

One connection per direction: a node dials each peer it has something for and only sends on that connection; what it
hears comes on connections its peers dialled. (Beats travel on a second one, from a loop of their own: `node.beats`.)
So two nodes that dial each other at once do not meet, and a newer connection from a peer simply takes the place of an
older one. Both sides show their node certificate; a node's id is the hash of its public key, so an address taken over
by another node is noticed at the handshake, before any frame.

A frame is a length (4 bytes, big-endian, of the payload alone), a kind (1 byte) and a payload. Delivery is at most once
and in order on one connection; what is lost with a connection is lost, as consensus expects of a network. A peer that
falls silent is given up when the kernel has had no acknowledgement for a while, and dialled anew. Whatever strangers
send to the port costs their connection only.

Longer than most files, because the two ends of one small protocol are best read beside each other.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dataplane.config import Address
from dataplane.http.descriptors import is_scarce
from dataplane.http.tls import TlsClientContext, TlsConnection, TlsError, TlsServerContext
from dataplane.txid import NodeId

_HEADER_BYTES = 5
_MOST_BYTES_BEFORE_HANDSHAKE = 65_536
# The first frame each way: its sender has seen the other's certificate and accepts it. The dialling side speaks first,
# so that one who reached the wrong node leaves no trace there, and says where it can be dialled: who answers may not
# have heard of it yet. It counts as connected when the answer has come. The kind tells what the connection is for: a
# newer one takes the place of an older one of the same use only.
MESSAGES, BEATS = _USES = 0xFF, 0xFE
_LONGEST_ADDRESS_BYTES = 300
_BACKLOG = 128
# Strangers at the port may not take the last file descriptors, which the ledger needs.
_DESCRIPTORS_FOR_FILES = 8

_log = logging.getLogger("channels")


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """Bounds of the node-to-node transport."""

    max_frame_bytes: int = 64 << 20
    max_unsent_bytes: int = 128 << 20  # per peer; beyond it `send` refuses
    max_strangers: int = 64  # incoming connections that have not shown who they are; the oldest makes room
    connect_timeout_ms: int = 1_000  # connecting and handshake
    silence_timeout_ms: int = 2_000  # sent but not acknowledged by the peer's kernel
    first_retry_ms: int = 20
    last_retry_ms: int = 500


class Channels:
    """A node's connections to its peers, in one event loop.

    `may_talk(node_id, certificate_pem)` decides who is a peer, on both sides and for each connection.
    `on_lost(node_id)` is called in the loop when a peer that could be sent to cannot any more.
    `address_of(node_id)` says where to dial; None: where it said itself when it dialled us (we say `own_address`,
    host:port). `on_message(node_id, kind, payload)` is called in the loop for each frame of an accepted peer.
    Certificate and key (PEM) stay in memory. `source_host` is the local address to dial from
    (`node_client_interface`), `use` what the connections dialled from here are for.
    """

    def __init__(
        self,
        *,
        certificate_pem: str,
        key_pem: str,
        may_talk: Callable[[NodeId, str], bool],
        address_of: Callable[[NodeId], tuple[str, int] | None],
        on_message: Callable[[NodeId, int, bytes], None],
        source_host: str | None = None,
        limits: ChannelLimits | None = None,
        on_lost: Callable[[NodeId], None] = lambda _: None,
        use: int = MESSAGES,
    ) -> None:
        self.limits = limits or ChannelLimits()
        self.address_of = address_of
        self.source_host = source_host
        self.use = use
        self.own_address = ""
        self._may_talk = may_talk
        self._on_message = on_message
        self._on_lost = on_lost
        self._links: dict[NodeId, _Link] = {}
        self._incoming: dict[tuple[NodeId, int], _Incoming] = {}
        self._strangers: dict[_Incoming, None] = {}
        self._told: dict[NodeId, tuple[str, int]] = {}  # where peers said they can be dialled
        self._server: asyncio.Server | None = None
        self._closed = False
        self.set_certificate(certificate_pem, key_pem)

    def set_certificate(self, certificate_pem: str, key_pem: str) -> None:
        """Show this certificate on new connections; those that exist go on. Raises `ValueError`."""
        self.server_context = TlsServerContext(certificate_pem, key_pem, demand_certificate=True)
        self.client_context = TlsClientContext(certificate_pem, key_pem)

    async def listen(self, bind: Address) -> Address:
        """Bind, and give the address with its port resolved. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Incoming(self, loop), bind.host, bind.port, backlog=_BACKLOG)
        host, port = self._server.sockets[0].getsockname()[:2]
        return Address(host, port)

    def send(self, node_id: NodeId, kind: int, payload: bytes) -> bool:
        """Queue one frame (`kind` 0 to 254) for a peer, dialling it if need be.

        False when the frame is dropped: too large, too much unsent, or the last attempt to reach the peer failed.
        True promises nothing about arrival.
        """
        if self._closed or len(payload) > self.limits.max_frame_bytes:
            return False
        return self._link(node_id).send(kind, payload)

    def maintain(self, node_ids: Iterable[NodeId]) -> None:
        """Keep connections to exactly these peers, also while there is nothing to send; drop all others."""
        wanted = sorted(set(node_ids))
        for node_id in sorted(self._known() - set(wanted)):
            self.drop(node_id)
        for node_id in wanted:
            self._link(node_id).keep_alive = True

    def keep(self, node_ids: Iterable[NodeId]) -> None:
        """Hold connections to exactly these peers also while there is nothing to send. Those to others stay as they
        are, and are dialled anew only when there is something."""
        wanted = set() if self._closed else set(node_ids)
        for node_id in sorted(wanted | self._links.keys()):
            self._link(node_id).keep_alive = node_id in wanted

    def take_leave(self, node_id: NodeId) -> None:
        """Close what connects us to this node, once what waits for it is sent."""
        link = self._links.pop(node_id, None)
        if link is not None:
            link.finish()
        self.drop(node_id)

    def drop(self, node_id: NodeId) -> None:
        """Close what connects us to this node and forget what waited for it. It may come again if `may_talk`."""
        link = self._links.pop(node_id, None)
        if link is not None:
            link.close()
        for use in _USES:
            incoming = self._incoming.pop((node_id, use), None)
            if incoming is not None:
                incoming.abort()
        self._told.pop(node_id, None)

    def connected(self) -> frozenset[NodeId]:
        """The peers that have accepted us and can be sent to now."""
        return frozenset(node_id for node_id, link in self._links.items() if link.up)

    def kept(self) -> frozenset[NodeId]:
        """The peers that connections are held to also while there is nothing to send."""
        return frozenset(node_id for node_id, link in self._links.items() if link.keep_alive)

    async def close(self) -> None:
        """Stop listening and close all connections."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        for node_id in sorted(self._known()):
            self.drop(node_id)
        for stranger in list(self._strangers):
            stranger.abort()
        await asyncio.sleep(0)  # the transports report their end in the next turn

    def _known(self) -> set[NodeId]:
        return self._links.keys() | {node_id for node_id, _ in self._incoming}

    def _link(self, node_id: NodeId) -> "_Link":
        link = self._links.get(node_id)
        if link is None:
            link = self._links[node_id] = _Link(self, node_id)
        return link

    # What follows is for the connections below.

    def check_peer(self, tls: TlsConnection) -> NodeId | None:
        """Whose certificate this is; None when it is nobody we talk to."""
        der = tls.peer_certificate_der
        try:
            certificate = x509.load_der_x509_certificate(der or b"")
            spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except (ValueError, UnsupportedAlgorithm):
            return None
        node_id = sha256(spki).hexdigest()
        return node_id if self._may_talk(node_id, certificate.public_bytes(Encoding.PEM).decode()) else None

    def deliver(self, node_id: NodeId, kind: int, payload: bytes) -> None:
        self._on_message(node_id, kind, payload)

    def lose(self, node_id: NodeId) -> None:
        self._on_lost(node_id)

    def meet(self, stranger: "_Incoming") -> None:
        if self._closed:
            stranger.abort()
            return
        self._strangers[stranger] = None
        if len(self._strangers) > self.limits.max_strangers:
            next(iter(self._strangers)).abort()

    def where(self, node_id: NodeId) -> tuple[str, int] | None:
        return self.address_of(node_id) or self._told.get(node_id)

    def welcome(self, node_id: NodeId, connection: "_Incoming", address: tuple[str, int] | None) -> None:
        self._strangers.pop(connection, None)
        if address is not None:
            self._told[node_id] = address
        older = self._incoming.get((node_id, connection.use))
        self._incoming[node_id, connection.use] = connection
        if older is not None:
            older.abort()

    def part(self, connection: "_Incoming") -> None:
        self._strangers.pop(connection, None)
        if connection.peer is not None and self._incoming.get((connection.peer, connection.use)) is connection:
            del self._incoming[connection.peer, connection.use]


class _Link:
    """The sending side towards one peer: dials, queues, dials again."""

    def __init__(self, channels: Channels, node_id: NodeId) -> None:
        self._channels = channels
        self._node_id = node_id
        self._loop = asyncio.get_running_loop()
        self._frames: deque[bytes] = deque()
        self._queued_bytes = 0
        self._connection: _Outgoing | None = None
        self._flush_due = False
        self._refused = False  # the last attempt failed: nothing is queued for a peer that is not there
        self._wanted = asyncio.Event()
        self._keep_alive = False
        self._task = self._loop.create_task(self._run())

    @property
    def up(self) -> bool:
        return self._connection is not None and self._connection.accepted

    @property
    def keep_alive(self) -> bool:
        return self._keep_alive

    @keep_alive.setter
    def keep_alive(self, value: bool) -> None:
        self._keep_alive = value
        if value:
            self._wanted.set()

    def send(self, kind: int, payload: bytes) -> bool:
        self._wanted.set()
        size = _HEADER_BYTES + len(payload)
        if self._refused or self._unsent_bytes() + size > self._channels.limits.max_unsent_bytes:
            return False
        self._frames.append(_header(kind, payload))
        self._frames.append(payload)
        self._queued_bytes += size
        if self.up and not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)
        return True

    def finish(self) -> None:
        """End the connection when everything that waits is sent; at once, where there is none."""
        self._flush()
        connection, self._connection = self._connection, None
        self._task.cancel()
        self._clear()
        if connection is not None:
            connection.end()

    def close(self) -> None:
        self._task.cancel()
        self._clear()
        if self._connection is not None:
            self._connection.abort()

    def _unsent_bytes(self) -> int:
        connection = self._connection
        return self._queued_bytes + (0 if connection is None else connection.unsent_bytes())

    def _clear(self) -> None:
        self._frames.clear()
        self._queued_bytes = 0

    def _flush(self) -> None:
        self._flush_due = False
        if not self._frames or self._connection is None or not self.up:
            return
        data = b"".join(self._frames)
        self._clear()
        self._connection.write(data)

    async def _run(self) -> None:
        limits = self._channels.limits
        retry_ms = limits.first_retry_ms
        while True:
            if not self._keep_alive:
                await self._wanted.wait()
            self._wanted.clear()
            try:
                if await self._connect_and_stay():
                    retry_ms = limits.first_retry_ms
            except Exception:
                _log.exception("dialling %s failed", self._node_id)
            self._refused = True
            self._clear()
            self._wanted.clear()  # by frames that are lost
            await asyncio.sleep(retry_ms / 1000)
            retry_ms = min(2 * retry_ms, limits.last_retry_ms)

    async def _connect_and_stay(self) -> bool:
        """One connection from dial to end; whether the peer ever accepted it."""
        address = self._channels.where(self._node_id)
        if address is None:
            return False
        connection = _Outgoing(self._channels, self._node_id, self._loop)
        try:
            async with asyncio.timeout(self._channels.limits.connect_timeout_ms / 1000):
                await self._dial(connection, address)
                await connection.answered.wait()
        except (OSError, TimeoutError) as error:
            _log.debug("peer %s at %s:%d cannot be reached: %s", self._node_id, *address, error)
            connection.abort()
            return False
        if not connection.accepted:
            return False
        self._connection, self._refused = connection, False
        self._flush()
        try:
            await connection.lost.wait()
        finally:
            self._connection = None
        self._channels.lose(self._node_id)
        return True

    async def _dial(self, connection: "_Outgoing", address: tuple[str, int]) -> None:
        source = self._channels.source_host
        await self._loop.create_connection(
            lambda: connection, *address, local_addr=None if source is None else (source, 0)
        )


class _Outgoing(asyncio.Protocol):
    """A connection we dialled; we only listen for the peer's acceptance."""

    def __init__(self, channels: Channels, node_id: NodeId, loop: asyncio.AbstractEventLoop) -> None:
        self._channels = channels
        self._node_id = node_id
        self._tls = channels.client_context.connection()
        self._transport: asyncio.Transport | None = None
        self._heard = b""
        self._checked = False
        self.accepted = False
        self.answered = asyncio.Event()  # accepted, or lost
        self.lost = asyncio.Event()

    def unsent_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return  # it was cut off, and says so in a later turn of the loop
        try:
            self._transport.write(self._tls.write(data))
        except TlsError as error:
            self._give_up(str(error))

    def end(self) -> None:
        """Close once all that was written is sent."""
        assert self._transport is not None
        self._transport.write(self._tls.shutdown())
        self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        _watch_for_silence(self._transport, self._channels.limits)
        self._transport.write(self._tls.start())

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            self._heard += b"".join(self._tls.feed(data))
            self._transport.write(self._tls.take_ciphertext())
            self._after_reading()
        except TlsError as error:
            self._give_up(str(error))
        except Exception:
            _log.exception("the channel to %s failed", self._node_id)
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.answered.set()
        self.lost.set()

    def _after_reading(self) -> None:
        if self._tls.established and not self._checked:
            self._checked = True
            if self._channels.check_peer(self._tls) != self._node_id:
                self._give_up("another node answers at its address")
                return
            self.write(_header(self._channels.use, self._channels.own_address.encode()))
            self.write(self._channels.own_address.encode())
        if len(self._heard) >= _HEADER_BYTES and not self.accepted:
            self.accepted = self._heard == _header(self._channels.use, b"")
            self.answered.set()
        if self._tls.closed_by_peer or len(self._heard) > _HEADER_BYTES:
            self._give_up("closed by the peer")

    def _give_up(self, reason: str) -> None:
        _log.debug("the channel to %s ends: %s", self._node_id, reason)
        self.abort()


class _Incoming(asyncio.Protocol):
    """A connection a peer dialled: frames come in, nothing but the acceptance goes out."""

    def __init__(self, channels: Channels, loop: asyncio.AbstractEventLoop) -> None:
        self._channels = channels
        self._loop = loop
        self._tls = channels.server_context.connection()
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._buffer = bytearray()
        self._early_bytes = 0
        self._over = False
        self.peer: NodeId | None = None
        self.use = MESSAGES

    def abort(self) -> None:
        self._over = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if is_scarce(self._transport, _DESCRIPTORS_FOR_FILES):
            self.abort()
            return
        limits = self._channels.limits
        _watch_for_silence(self._transport, limits)
        self._deadline = self._loop.call_later(limits.connect_timeout_ms / 1000, self.abort)
        self._channels.meet(self)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        assert self._transport is not None
        try:
            if self.peer is None:
                self._early_bytes += len(data)
            for chunk in self._tls.feed(data):
                self._buffer += chunk
            if self.peer is None:
                self._introduce()
            if self.peer is not None and self._buffer:
                self._deliver(self.peer)
            if self._tls.closed_by_peer:
                self.abort()
        except TlsError as error:
            _log.debug("an incoming channel ends: %s", error)
            self._transport.write(self._tls.take_ciphertext())
            self._transport.close()
            self._over = True
        except Exception:
            _log.exception("an incoming channel failed")
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._over = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._channels.part(self)

    def _introduce(self) -> None:
        assert self._transport is not None
        self._transport.write(self._tls.take_ciphertext())
        if not self._tls.established:
            if self._early_bytes > _MOST_BYTES_BEFORE_HANDSHAKE:
                self.abort()
            return
        greeting = _Greeting.read(self._buffer)
        if greeting is None:
            return
        peer = self._channels.check_peer(self._tls)
        if peer is None or greeting.use not in _USES:
            _log.debug("an incoming channel is refused: no peer's certificate, or no greeting")
            self.abort()
            return
        del self._buffer[: greeting.size]
        self.peer, self.use = peer, greeting.use
        if self._deadline is not None:
            self._deadline.cancel()
        self._channels.welcome(peer, self, greeting.address)
        self._transport.write(self._tls.write(_header(greeting.use, b"")))

    def _deliver(self, peer: NodeId) -> None:
        buffer, position = self._buffer, 0
        while not self._over and len(buffer) - position >= _HEADER_BYTES:
            length = int.from_bytes(buffer[position : position + 4], "big")
            if length > self._channels.limits.max_frame_bytes:
                _log.info("the channel from %s is closed: a frame of %d bytes", peer, length)
                self.abort()
                return
            end = position + _HEADER_BYTES + length
            if end > len(buffer):
                break
            kind = buffer[position + 4]
            payload = bytes(memoryview(buffer)[position + _HEADER_BYTES : end])
            position = end
            self._channels.deliver(peer, kind, payload)
        del buffer[:position]


@dataclass(frozen=True, slots=True)
class _Greeting:
    """The first frame of who dials: a `use` of 0 stands for anything that is none."""

    use: int
    size: int
    address: tuple[str, int] | None

    @classmethod
    def read(cls, data: bytes | bytearray) -> "_Greeting | None":
        """The greeting at the start of `data`; None while it is incomplete."""
        if len(data) < _HEADER_BYTES:
            return None
        length, use = int.from_bytes(data[:4], "big"), data[4]
        if length > _LONGEST_ADDRESS_BYTES or use not in _USES:
            return cls(0, 0, None)
        end = _HEADER_BYTES + length
        return None if len(data) < end else cls(use, end, _address(bytes(data[_HEADER_BYTES:end])))


def _address(text: bytes) -> tuple[str, int] | None:
    host, _, port = text.decode("latin-1").rpartition(":")
    known = host.isascii() and host.isprintable() and port.isdecimal() and 0 < int(port) < 65536
    return (host, int(port)) if host and known else None


def _header(kind: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + bytes((kind,))


def _watch_for_silence(transport: asyncio.Transport, limits: ChannelLimits) -> None:
    """Let the kernel end a connection whose other end stopped answering, whether or not anything is being sent."""
    sock = cast(socket.socket, transport.get_extra_info("socket"))
    silence_ms = limits.silence_timeout_ms
    with suppress(OSError):  # gone already
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, silence_ms // 1000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, max(1, silence_ms // 1000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_ms)
