"""Forwarded requests: bytes both ways, answers, time-outs, answers that come too late."""

import asyncio

import pytest

from dataplane.api.auth import Peer
from dataplane.api.pipeline import ForwardedRequest
from dataplane.apps.endpoint import Response
from dataplane.node.forwarding import (
    Forwarder,
    MalformedForward,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)

REQUEST = ForwardedRequest(7, Peer(b"\x30\x01", "ab"), "POST", "/app/log?id=1", {"host": "x"}, b"\x00body")


def test_bytes_go_both_ways() -> None:
    assert decode_request(encode_request(3, REQUEST)) == (3, REQUEST)
    response = Response(200, b"\xff", {"a": "b"})
    assert decode_response(encode_response(3, response)) == (3, response)


@pytest.mark.parametrize("payload", [b"", b"\x01\x00\x00\x00", b"\x02\x00\x00\x00[]", b"\x02\x00\x00\x00{}"])
def test_garbage_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedForward):
        decode_request(payload)
    with pytest.raises(MalformedForward):
        decode_response(payload)


def test_an_answer_reaches_its_request_and_a_late_one_nobody() -> None:
    async def play() -> list[Response]:
        answers: list[Response] = []
        sent: list[bytes] = []
        forwarder = Forwarder(asyncio.get_running_loop())
        forwarder.send(REQUEST, "n0", 1000, answers.append, sent.append)
        forwarder.send(REQUEST, "n0", 1, answers.append, sent.append)
        numbers = [decode_request(payload)[0] for payload in sent]
        forwarder.answer(encode_response(numbers[0], Response(201)))
        await asyncio.sleep(0.05)
        forwarder.answer(encode_response(numbers[1], Response(201)))
        return answers

    first, second = asyncio.run(play())
    assert first.status == 201
    assert second.status == 504
    assert b"n0" in second.body
    assert b"1ms" in second.body


def test_when_the_channel_breaks_whoever_waits_for_that_node_hears_so_at_once() -> None:
    async def play() -> list[tuple[str, Response]]:
        answers: list[tuple[str, Response]] = []
        sent: list[bytes] = []
        forwarder = Forwarder(asyncio.get_running_loop())
        forwarder.send(REQUEST, "n0", 60_000, lambda answer: answers.append(("lost", answer)), sent.append)
        forwarder.send(REQUEST, "n1", 60_000, lambda answer: answers.append(("kept", answer)), sent.append)
        forwarder.lost("n0")
        forwarder.answer(encode_response(decode_request(sent[0])[0], Response(201)))
        forwarder.answer(encode_response(decode_request(sent[1])[0], Response(201)))
        return answers

    (_, lost), (_, kept) = asyncio.run(play())
    assert (lost.status, kept.status) == (504, 201)
    assert b"n0" in lost.body
