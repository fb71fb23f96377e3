"""Bytes to requests, over httptools (llhttp), with the limits and errors of node-api.md 1.5 and 1.8.

Nothing here does I/O. A parser that failed, or saw the last request of its connection, ignores what follows.
"""

from dataclasses import dataclass
from enum import StrEnum

import httptools

from dataplane.config import HttpLimits
from dataplane.http.message import HttpRequest, HttpResponse, error_response

_METHODS: dict[bytes, str] = {}
# Names repeat from request to request; a bounded table saves decoding them. Its bound keeps strangers from filling it.
_NAMES: dict[bytes, str] = {}
_MOST_NAMES = 1024


class Fault(StrEnum):
    """What went wrong, named as the error counters of `/node/metrics` (node-api.md 2.2)."""

    PARSING = "parsing"
    PAYLOAD = "request_payload_too_large"
    HEADER = "request_header_too_large"


@dataclass(frozen=True, slots=True)
class Failure:
    """The last thing to be said on a connection, and the counter it raises."""

    fault: Fault
    response: HttpResponse


class RequestParser:
    """The requests of one connection. `failure` is set once and for all when its bytes are no HTTP, or too many."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._completed: list[HttpRequest] = []
        self._finished = False
        self._silent_bytes = 0
        self._progress = False
        self._refusal: str | None = None
        self.failure: Failure | None = None
        self.continue_due = False
        self._reset()

    def feed(self, data: bytes) -> list[HttpRequest]:
        """The requests that `data` completes, in order. Look at `failure` and `continue_due` afterwards.

        `continue_due` is true while a client waits for `100 Continue` before it sends a body that we would take.
        """
        if self._finished:
            return []
        self._progress = False
        self._execute(data)
        self._bound_unfinished_piece(len(data))
        completed, self._completed = self._completed, []
        return completed

    def close(self) -> None:
        """Take no more, and let go of the parser below, which holds on to this one."""
        self._finished = True
        del self._parser

    def _execute(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # An offer to change protocols is declined by answering as if it had not been made (RFC 9110 7.8).
            self._execute(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self._finished:
                self._fail(Fault.PARSING, _unparsable(self._refusal or str(error), data))

    def _bound_unfinished_piece(self, size: int) -> None:
        # httptools collects a header piece by piece and reports it whole, so its growth shows only as silence.
        self._silent_bytes = 0 if self._progress else self._silent_bytes + size
        if self._silent_bytes > 2 * self._limits.max_header_size and not self._finished:
            self._fail(Fault.HEADER, self._header_too_large("A header"))

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._header_count = 0
        self._in_body = False
        self._pieces: list[bytes] = []
        self._body_bytes = 0

    # What follows is called by httptools.

    def on_url(self, piece: bytes) -> None:
        self._progress = True
        self._url += piece
        if len(self._url) > self._limits.max_header_size:
            self._abandon(Fault.HEADER, self._header_too_large("The request target"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._progress = True
        limits = self._limits
        self._header_count += 1
        if self._header_count > limits.max_headers_count:
            message = f"There are more than {limits.max_headers_count} headers."
            self._abandon(Fault.HEADER, error_response(431, "RequestHeaderTooLarge", message, close=True))
        if len(name) > limits.max_header_size or len(value) > limits.max_header_size:
            self._abandon(Fault.HEADER, self._header_too_large("A header"))
        if self._in_body:
            return  # a trailer must not pass for a header (RFC 9110 6.5.1)
        text, key = value.decode("latin-1"), _NAMES.get(name) or _header_name(name)
        headers = self._headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        self._progress = self._in_body = True
        length = int(self._headers.get("content-length", "0"))
        if length > self._limits.max_body_size:
            self._abandon_body()
        if length == 0 and "transfer-encoding" not in self._headers:
            return
        if self._parser.should_upgrade():  # llhttp would take the body for the other protocol
            self._refusal = "Upgrade with a body"
            raise _Abandoned
        self.continue_due = self._headers.get("expect", "").lower() == "100-continue"

    def on_body(self, piece: bytes) -> None:
        self._progress = True
        self.continue_due = False
        self._body_bytes += len(piece)
        if self._body_bytes > self._limits.max_body_size:
            self._abandon_body()
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self._progress = True
        self.continue_due = False
        method = self._parser.get_method()
        keep_alive = self._parser.should_keep_alive()
        self._completed.append(
            HttpRequest(
                _METHODS.get(method) or _METHODS.setdefault(method, method.decode("latin-1")),
                self._url.decode("latin-1"),
                self._headers,
                b"".join(self._pieces),
                keep_alive,
            )
        )
        self._finished = not keep_alive
        self._reset()

    def _abandon_body(self) -> None:
        message = f"The request body is larger than {self._limits.max_body_size} bytes."
        self._abandon(Fault.PAYLOAD, error_response(413, "RequestBodyTooLarge", message, close=True))

    def _header_too_large(self, what: str) -> HttpResponse:
        message = f"{what} is larger than {self._limits.max_header_size} bytes."
        return error_response(431, "RequestHeaderTooLarge", message, close=True)

    def _abandon(self, fault: Fault, response: HttpResponse) -> None:
        self._fail(fault, response)
        raise _Abandoned  # httptools stops, and reports it as an error of the callback

    def _fail(self, fault: Fault, response: HttpResponse) -> None:
        self.failure = Failure(fault, response)
        self._finished = True
        self.continue_due = False


class _Abandoned(Exception):
    """Raised through httptools to stop it; what went wrong is already noted."""


def _header_name(name: bytes) -> str:
    text = name.decode("latin-1").lower()
    if len(_NAMES) < _MOST_NAMES:
        _NAMES[name] = text
    return text


def _unparsable(reason: str, fragment: bytes) -> HttpResponse:
    """The 400 of node-api.md 1.5; the fragment goes in as it is, for it may be anything, NUL bytes included."""
    text = f"Unable to parse data as a HTTP request. The parser says: {reason}\nThe data it was given:\n"
    return HttpResponse(400, {"content-type": "text/plain"}, text.encode() + fragment, close=True)
