"""Bytes to requests: order, limits, pinned texts (node-api.md 1.5, 1.8)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.config import HttpLimits
from dataplane.http.message import HttpRequest
from dataplane.http.parser import Failure, Fault, RequestParser

SMALL = HttpLimits(max_body_size=100, max_header_size=64, max_headers_count=4)
PINNED = b"Unable to parse data as a HTTP request."


def parse(data: bytes, limits: HttpLimits | None = None, step: int = 0) -> tuple[list[HttpRequest], Failure | None]:
    parser = RequestParser(limits or HttpLimits())
    requests: list[HttpRequest] = []
    for start in range(0, len(data), step or len(data)):
        requests += parser.feed(data[start : start + (step or len(data))])
    return requests, parser.failure


@pytest.mark.parametrize("step", [0, 1, 7])
def test_requests_come_out_whole_and_in_order(step: int) -> None:
    data = (
        b"POST /app/log?id=%41 HTTP/1.1\r\nHost: x\r\nX-Two: a\r\nx-two: b\r\nContent-Length: 5\r\n\r\nhello"
        b"GET / HTTP/1.1\r\n\r\n"
        b"PUT /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-late: z\r\n\r\n"
        b"HEAD /last HTTP/1.0\r\n\r\n"
    )
    requests, failure = parse(data, step=step)
    assert failure is None
    assert [(r.method, r.url, r.body, r.keep_alive) for r in requests] == [
        ("POST", "/app/log?id=%41", b"hello", True),
        ("GET", "/", b"", True),
        ("PUT", "/c", b"abcde", True),
        ("HEAD", "/last", b"", False),
    ]
    assert requests[0].headers == {"host": "x", "x-two": "a, b", "content-length": "5"}
    assert "x-late" not in requests[2].headers


def test_what_follows_the_last_request_is_ignored() -> None:
    requests, failure = parse(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\nGET /2 HTTP/1.1\r\n\r\n\x00\xff")
    assert [request.url for request in requests] == ["/"]
    assert failure is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x01", b"\x01\x02\x03\x04", b"NOTAVERB ", b"POST / HTTP/42.42", b'{"hello": "world"}',
        b"POST /node/\xff HTTP/2.0\r\n\r\n", b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n", 
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: \x00\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nupgrade: x\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nab",
    ],
)  # fmt: skip
def test_what_is_not_http_is_answered_with_the_parsers_reason_and_the_bytes(data: bytes) -> None:
    requests, failure = parse(data)
    assert requests == []
    assert failure is not None
    assert failure.fault is Fault.PARSING
    assert failure.response.status == 400
    assert failure.response.close
    assert failure.response.headers == {"content-type": "text/plain"}
    first, second, rest = failure.response.body.split(b"\n", 2)
    assert first.startswith(PINNED)
    assert len(first) > len(PINNED) + 5
    assert second
    assert rest == data


def test_good_requests_before_a_bad_one_are_kept() -> None:
    requests, failure = parse(b"GET /good HTTP/1.1\r\n\r\n\x01")
    assert [request.url for request in requests] == ["/good"]
    assert failure is not None
    parser_says_no_more = RequestParser(HttpLimits())
    parser_says_no_more.feed(b"\x01")
    assert parser_says_no_more.feed(b"GET / HTTP/1.1\r\n\r\n") == []


@pytest.mark.parametrize("step", [0, 1, 30])
@pytest.mark.parametrize(
    ("data", "status", "code", "fault"),
    [
        (b"POST / HTTP/1.1\r\ncontent-length: 101\r\n\r\n" + b"x" * 101, 413, "RequestBodyTooLarge", Fault.PAYLOAD),
        (b"POST / HTTP/1.1\r\ncontent-length: 18446744073709551615\r\n\r\n", 413, "RequestBodyTooLarge", Fault.PAYLOAD),
        (
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + (b"a\r\n" + b"x" * 10 + b"\r\n") * 11,
            413, "RequestBodyTooLarge", Fault.PAYLOAD,
        ),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 65 + b"\r\n\r\n", 431, "RequestHeaderTooLarge", Fault.HEADER),
        (b"GET / HTTP/1.1\r\n" + b"x" * 65 + b": y\r\n\r\n", 431, "RequestHeaderTooLarge", Fault.HEADER),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5 + b"\r\n", 431, "RequestHeaderTooLarge", Fault.HEADER),
        (b"GET /" + b"x" * 64 + b" HTTP/1.1\r\n\r\n", 431, "RequestHeaderTooLarge", Fault.HEADER),
    ],
)  # fmt: skip
def test_limits(data: bytes, status: int, code: str, fault: Fault, step: int) -> None:
    requests, failure = parse(data, SMALL, step)
    assert requests == []
    assert failure is not None
    assert (failure.fault, failure.response.status, failure.response.close) == (fault, status, True)
    error = json.loads(failure.response.body)["error"]
    assert error["code"] == code
    assert error["message"]


@pytest.mark.parametrize("step", [1, 30, 300])
@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nx: " + b"y" * 1000,
        b"\r\n" * 500,
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"y" * 1000,
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;x=" + b"y" * 1000,
    ],
)
def test_what_never_ends_is_cut_off(data: bytes, step: int) -> None:
    requests, failure = parse(data, SMALL, step)
    assert requests == []
    assert failure is not None
    assert failure.response.status == 431


@pytest.mark.parametrize("step", [0, 1])
def test_what_is_just_within_the_limits_passes(step: int) -> None:
    data = (
        b"POST /" + b"u" * 63 + b" HTTP/1.1\r\ncontent-length: 100\r\nx: " + b"y" * 64 + b"\r\n" + b"z" * 64
        + b": 1\r\nlast: 4\r\n\r\n" + b"b" * 100
    )  # fmt: skip
    requests, failure = parse(data * 2, SMALL, step)
    assert failure is None
    assert len(requests) == 2
    assert requests[1].body == b"b" * 100


def test_an_offer_to_upgrade_is_declined_by_an_ordinary_request() -> None:
    data = b"GET /ws HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nGET /next HTTP/1.1\r\n\r\n"
    requests, failure = parse(data)
    assert [request.url for request in requests] == ["/ws", "/next"]
    assert failure is None


def test_a_client_that_waits_before_sending_its_body_is_noticed() -> None:
    head = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n"
    parser = RequestParser(HttpLimits())
    assert parser.feed(head) == []
    assert parser.continue_due
    assert len(parser.feed(b"abc")) == 1
    assert not parser.continue_due
    impatient = RequestParser(HttpLimits())
    impatient.feed(head + b"a")
    assert not impatient.continue_due
    refused = RequestParser(SMALL)
    refused.feed(head.replace(b"3", b"101"))
    assert not refused.continue_due
    assert refused.failure is not None


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_give_requests_a_failure_or_patience(data: bytes, step: int) -> None:
    requests, failure = parse(data + b"", SMALL, step) if data else ([], None)
    assert all(request.method and request.url for request in requests)
    if failure is not None:
        assert failure.response.status in (400, 413, 431)
        assert failure.response.close


WHOLE = b"POST /app/log HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbodyGET /x HTTP/1.1\r\nq: 1\r\n\r\n"


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255), st.integers(1, 30))
def test_one_changed_byte_never_yields_more_requests_than_were_sent(position: int, value: int, step: int) -> None:
    changed = WHOLE[:position] + bytes([value]) + WHOLE[position + 1 :]
    requests, failure = parse(changed, step=step)
    assert len(requests) <= 3
    assert (failure is None) or failure.response.close
