"""What strangers, clients and other nodes send: HTTP, its headers, node-to-node messages, answers of other servers."""

from contextlib import suppress
from hashlib import sha256
from random import Random

from dataplane.api.auth import Peer
from dataplane.api.negotiation import parse_accept
from dataplane.api.pipeline import ForwardedRequest
from dataplane.api.ranges import RangeRule, parse_range
from dataplane.apps.endpoint import Response, decode_query, query_values
from dataplane.config import HttpLimits
from dataplane.consensus.log import Entry
from dataplane.consensus.messages import AppendEntries, AppendEntriesAck, AppendEntriesNack, RequestVote
from dataplane.consensus.wire import MalformedMessage, decode_message, encode_message
from dataplane.errors import CcfError
from dataplane.http.message import HttpRequest
from dataplane.http.parser import RequestParser
from dataplane.node.channels import _address, _Greeting
from dataplane.node.forwarding import (
    MalformedForward,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from dataplane.node.peer_http import PeerFailed, _body_size, _parse_head
from dataplane.txid import InvalidTxID, TxID
from tests.fuzz.harness import Target
from tests.fuzz.mutate import mutate

_LIMITS = HttpLimits(max_body_size=4096, max_header_size=1024, max_headers_count=32)
_HTTP_SEEDS = (
    b"GET /app/log/private?id=7&x=%20 HTTP/1.1\r\nhost: 127.0.0.1:8000\r\naccept: */*\r\n\r\n",
    b"POST /gov/members/proposals:create?api-version=2024-07-01 HTTP/1.1\r\nhost: h\r\n"
    b"content-type: application/cose\r\ncontent-length: 5\r\n\r\n\xd2\x84\x43\xa1\x01"
    b"GET /node/state HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
    b"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ntrailer: a\r\n\r\n3\r\nabc\r\n0\r\na: b\r\n\r\n",
    b"PUT /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"OPTIONS * HTTP/1.0\r\n\r\n",
    b"GET /x HTTP/1.1\r\nhost: h\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
)
_HTTP_TOKENS = (
    b"\r\n", b"\r\n\r\n", b"\n", b" ", b":", b"content-length: 99999999999999999999\r\n", b"content-length: 4\r\n",
    b"transfer-encoding: chunked\r\n", b"HTTP/9.9", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01", b"\x00",
    b"ffffffffffffffff\r\n", b"-1\r\n", b"0;a=b\r\n", b"connection: close\r\n", b"x: " + b"y" * 1100 + b"\r\n",
)  # fmt: skip


class Refused(Exception):
    """Raised here where a parser says no without an exception."""


def _http(data: bytes) -> object:
    """The same requests must come out however the bytes are cut."""
    whole, failed = _requests([data])
    cut = 1 + sha256(data).digest()[0] % 97
    pieces, failed_again = _requests([data[at : at + cut] for at in range(0, len(data), cut)])
    if not failed and not failed_again:
        assert whole == pieces, "the requests depend on how their bytes are cut"
    assert all(len(request.body) <= _LIMITS.max_body_size for request in whole)
    if failed:
        raise Refused
    return whole


def _requests(pieces: list[bytes]) -> tuple[list[HttpRequest], bool]:
    parser = RequestParser(_LIMITS)
    found = [request for piece in pieces for request in parser.feed(piece)]
    return found, parser.failure is not None


_HEADERS = (
    b"bytes=0-99", b"bytes=-5", b"bytes=7-", b"application/json, text/*;q=0.5, */*;q=0", b"2.15", b"a=1&b=%26&a=2+3",
    b"127.0.0.1:8000", b"[::1]:443", b"HTTP/1.1 200 OK\r\ncontent-length: 12",
)  # fmt: skip


def _headers(data: bytes) -> object:
    """Everything that reads one header or one line of text, each on its own."""
    text, taken = data.decode("latin-1"), 0
    readers = (
        lambda: parse_range(text, 1000, RangeRule.END_EXCLUDED),
        lambda: parse_range(text, 1000, RangeRule.RFC_9110),
        lambda: parse_accept(text),
        lambda: TxID.parse(text),
        lambda: _body_size(_parse_head(data)[1], 1 << 20),
    )
    query_values(decode_query(text))
    _address(data[:300])  # a greeting is not longer
    for read in readers:
        try:
            read()
            taken += 1
        except (CcfError, InvalidTxID, PeerFailed):
            continue
    if not taken:
        raise Refused
    return taken


_ENTRIES = (
    Entry(2, 7, b"frame" * 5, configuration=(("a" * 64, "127.0.0.1:9000"), ("b" * 64, "127.0.0.1:9001"))),
    Entry(2, 8, b"", signed=True, retired_committed=("c" * 64,)),
)
_CONSENSUS = [
    encode_message(message)
    for message in (
        AppendEntries(2, TxID(2, 6), 5, 9, _ENTRIES),
        AppendEntriesAck(2, 7, 6),
        AppendEntriesNack(2, 4, TxID(2, 5)),
        RequestVote(4, TxID(3, 9)),
    )
]


def _consensus(data: bytes) -> object:
    message = decode_message(data)
    assert decode_message(encode_message(message)) == message, "a message does not survive its own encoding"
    return message


_FORWARDED = [
    encode_request(
        9, ForwardedRequest(7, Peer(b"\x30\x01", "ab"), "POST", "/app/x?a=1", {"host": "h", "a": "é"}, b"\x00body")
    ),
    encode_response(9, Response(200, b'{"a":1}', {"content-type": "application/json"})),
    b"\x00\x00\x01,\x01127.0.0.1:9000",
]


def _forwarded(data: bytes) -> object:
    """What is taken has the types its fields are declared with: the pipeline relies on them."""
    _Greeting.read(data)
    taken = 0
    with suppress(MalformedForward):
        number, request = decode_request(data)
        peer = request.peer
        _all_are(int, number, request.session_id)
        _all_are(str, request.method, request.url, *request.headers, *request.headers.values())
        assert type(peer.id) is (str if peer.certificate_der is not None else type(None)), "a caller without a name"
        assert decode_request(encode_request(number, request)) == (number, request)
        taken += 1
    with suppress(MalformedForward):
        number, response = decode_response(data)
        _all_are(int, number, response.status)
        _all_are(str, *response.headers, *response.headers.values())
        taken += 1
    if not taken:
        raise Refused
    return taken


def _all_are(kind: type, *values: object) -> None:
    wrong = [value for value in values if type(value) is not kind]
    assert not wrong, f"{wrong[:3]!r} should be of type {kind.__name__}"


def _http_mutant(random: Random) -> bytes:
    return mutate(_HTTP_SEEDS, _HTTP_TOKENS, random)


def _header_mutant(random: Random) -> bytes:
    return mutate(_HEADERS, (b"bytes=", b"-", b",", b";q=", b"*/*", b"9" * 5000, b"\xb2", b"%", b"\r\n"), random)


def _consensus_mutant(random: Random) -> bytes:
    return mutate(_CONSENSUS, (), random)


def _forwarded_mutant(random: Random) -> bytes:
    return mutate(_FORWARDED, (b"{}", b"null", b"[]", b'"headers"', b'"url"', b"\xff" * 4), random)


TARGETS = (
    Target("http", _http_mutant, _http, (Refused,), weight=150),
    Target("headers", _header_mutant, _headers, (Refused,), weight=100),
    Target("consensus", _consensus_mutant, _consensus, (MalformedMessage,), weight=120),
    Target("forwarding", _forwarded_mutant, _forwarded, (Refused,), weight=100),
)
