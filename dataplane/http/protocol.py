"""One client connection: TLS below, requests above, in order and within bounds (node-api.md 1.5).

Requests are answered one at a time; pipelined ones wait, and while any waits nothing more is read. A peer that does not
read stops being served: once the transport is full, no request is begun and nothing is read. So what a connection can
hold is one socket read's worth of requests, one unfinished request and one response.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any, cast

from dataplane.http.descriptors import is_scarce
from dataplane.http.message import CONTINUE, HttpRequest, HttpResponse, encode_response, error_response
from dataplane.http.parser import RequestParser
from dataplane.http.port import ListeningPort
from dataplane.http.tls import TlsConnection, TlsError

# Responses of pipelined requests are written together; beyond this they go out before the next is asked for.
_CORK_BYTES = 65_536
# Sessions leave this many file descriptors to the ledger, snapshots and other nodes, whatever the session caps allow.
_DESCRIPTORS_FOR_FILES = 16
# A peer that was told to go may still be sending; closing at once would reset the connection and lose the answer.
_LINGER_S = 2.0

_log = logging.getLogger("http")

Reply = Callable[[HttpResponse], None]


class Session:
    """What the application may know of a connection, and a place (`state`) to keep what it learns."""

    __slots__ = ("id", "interface", "peer_certificate_der", "peer_id", "state")

    def __init__(self, session_id: int, interface: str, peer_certificate_der: bytes | None) -> None:
        self.id = session_id
        self.interface = interface
        self.peer_certificate_der = peer_certificate_der
        self.peer_id = sha256(peer_certificate_der).hexdigest() if peer_certificate_der else None
        self.state: dict[str, Any] = {}


Dispatch = Callable[[Session, HttpRequest, Reply], None]
"""Called in the event loop for one request; calls the reply at once or later, and once: repetitions are ignored."""


class HttpConnection(asyncio.Protocol):
    """A connection from accept to close."""

    def __init__(self, port: ListeningPort, loop: asyncio.AbstractEventLoop) -> None:
        self._port = port
        self._loop = loop
        self._parser = RequestParser(port.limits)
        self._waiting: deque[HttpRequest] = deque()
        self._in_flight: HttpRequest | None = None
        self._output: list[bytes] = []
        self._output_bytes = 0
        self._running = False  # the queue is being worked on further up the stack
        self._choked = False  # the transport holds more than the peer reads
        self._reading = True
        self._ended = False  # the peer sends no more
        self._last_response = False  # after what is in `_output`, the connection ends
        self._closing = False
        self._linger: asyncio.TimerHandle | None = None
        self._tls: TlsConnection | None = None
        self._session: Session | None = None
        self._transport: asyncio.Transport
        self.over_cap = False
        self.last_activity_s = loop.time()

    def expire(self) -> None:
        """End a connection on which nothing has happened for too long; one with a request in flight stays."""
        if self._in_flight is not None:
            return
        if self._choked or self._closing:
            self._transport.abort()
        else:
            self._close()

    def finish(self) -> None:
        """End the connection as soon as the requests it has sent are answered."""
        self._ended = True
        if self._in_flight is None and not self._running:
            self._run()

    def abort(self) -> None:
        """End the connection now, losing what is under way."""
        self._transport.abort()

    # What follows is called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none of asyncio's
        if is_scarce(self._transport, _DESCRIPTORS_FOR_FILES) or not self._port.admit(self):
            self._transport.abort()
            return
        self._tls = self._port.secure()
        if self._tls is None:
            self._session = self._new_session(None)

    def data_received(self, data: bytes) -> None:
        self.last_activity_s = self._loop.time()
        if self._closing or self._ended:
            return
        try:
            for chunk in self._decrypt(data):
                self._take(chunk)
            self._run()
        except TlsError as error:
            _log.debug("TLS: %s", error)
            self._send_alert()
        except Exception:
            _log.exception("a connection failed")
            self._transport.abort()

    def eof_received(self) -> bool:
        if self._closing or self._session is None or not (self._in_flight or self._waiting or self._output):
            return False
        self._ended = True
        return True

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        self.last_activity_s = self._loop.time()
        if not self._running:
            self._run()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._in_flight = None
        self._waiting.clear()
        self._parser.close()
        if self._linger is not None:
            self._linger.cancel()
        self._port.forget(self)

    # From bytes to requests.

    def _decrypt(self, data: bytes) -> list[bytes]:
        tls = self._tls
        if tls is None:
            return [data]
        if tls.established:
            chunks = tls.feed(data)
        else:
            chunks = tls.feed(data)
            self._transport.write(tls.take_ciphertext())
            if tls.established:
                self._session = self._new_session(tls.peer_certificate_der)
        if tls.closed_by_peer:
            self._ended = True
        return chunks

    def _send_alert(self) -> None:
        assert self._tls is not None
        self._closing = True
        self._transport.write(self._tls.take_ciphertext())
        self._transport.close()

    def _new_session(self, peer_certificate_der: bytes | None) -> Session:
        return Session(self._port.next_session_id(), self._port.name, peer_certificate_der)

    def _take(self, chunk: bytes) -> None:
        if self.over_cap:
            self._refuse_for_cap()
            return
        parser = self._parser
        if parser.failure is not None:
            return
        self._waiting.extend(parser.feed(chunk))
        if parser.failure is not None:
            self._port.count(parser.failure.fault)

    def _refuse_for_cap(self) -> None:
        # Answered when the first byte of a request has come: earlier, a client still sending might miss the answer.
        if not self._last_response:
            message = f"Interface {self._port.name} has too many open sessions."
            self._emit(error_response(503, "SessionCapExhausted", message), head_only=False, last=True)

    # From requests to responses.

    def _run(self) -> None:
        self._running = True
        try:
            while self._waiting and self._in_flight is None and not self._choked and not self._closing:
                self._begin(self._waiting.popleft())
                if self._output_bytes > _CORK_BYTES:
                    self._flush()
        finally:
            self._running = False
        self._settle()

    def _begin(self, request: HttpRequest) -> None:
        session = self._session
        assert session is not None
        self._in_flight = request
        try:
            self._port.dispatch(session, request, partial(self._reply, request))
        except Exception as error:
            _log.exception("a request failed")
            self._reply(request, error_response(500, "InternalError", str(error)))

    def _reply(self, request: HttpRequest, response: HttpResponse) -> None:
        if self._in_flight is not request:
            return
        self._in_flight = None
        last = response.close or not request.keep_alive
        self._emit(response, head_only=request.method == "HEAD", last=last)
        if not self._running:
            self._run()

    def _emit(self, response: HttpResponse, *, head_only: bool, last: bool) -> None:
        encoded = encode_response(response, head_only=head_only, close=last)
        self._output.append(encoded)
        self._output_bytes += len(encoded)
        if last:
            self._last_response = True
            self._waiting.clear()

    def _settle(self) -> None:
        """After a turn: say what is due when nothing is left to answer, write, and read on or not."""
        if self._closing:
            return
        if self._in_flight is None and not self._waiting and not self._last_response:
            self._after_last_request()
        self._flush()
        if self._last_response:
            self._close()
            return
        self._read_or_wait(not self._waiting and not self._choked)

    def _after_last_request(self) -> None:
        failure = self._parser.failure
        if failure is not None:
            self._emit(failure.response, head_only=False, last=True)
        elif self._ended:
            self._last_response = True
        elif self._parser.continue_due:
            self._parser.continue_due = False
            self._output.append(CONTINUE)

    def _flush(self) -> None:
        if not self._output:
            return
        plaintext = self._output[0] if len(self._output) == 1 else b"".join(self._output)
        self._output.clear()
        self._output_bytes = 0
        self.last_activity_s = self._loop.time()
        try:
            self._transport.write(plaintext if self._tls is None else self._tls.write(plaintext))
        except TlsError as error:
            _log.debug("TLS: %s", error)
            self._transport.abort()

    def _read_or_wait(self, read: bool) -> None:
        if read == self._reading or self._transport.is_closing():
            return
        self._reading = read
        if read:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._waiting.clear()
        transport = self._transport
        if transport.is_closing():
            return
        if self._tls is not None:
            transport.write(self._tls.shutdown())
        if self._ended or not transport.can_write_eof():
            transport.close()
        else:
            transport.write_eof()
            self._read_or_wait(True)
        self._linger_on(transport.get_write_buffer_size())

    def _linger_on(self, unsent_bytes: int) -> None:
        self._linger = self._loop.call_later(_LINGER_S, self._end_linger, unsent_bytes)

    def _end_linger(self, unsent_bytes: int) -> None:
        # A slow reader is given as long as it makes progress; one that stalls is the idle sweep's (`expire`).
        left_bytes = self._transport.get_write_buffer_size()
        if left_bytes == 0:
            self._transport.abort()
            return
        if left_bytes < unsent_bytes:
            self.last_activity_s = self._loop.time()
        self._linger_on(left_bytes)
