"""The bytes of responses (node-api.md 1.1, 1.5)."""

import pytest

from dataplane.http.message import HttpResponse, encode_response, error_response


def encode(response: HttpResponse, *, head_only: bool = False, close: bool = False) -> bytes:
    return encode_response(response, head_only=head_only, close=close)


def test_names_are_lower_case_and_the_length_is_stated() -> None:
    response = HttpResponse(200, {"Content-Type": "text/plain", "x-a": "B"}, b"body")
    assert encode(response) == b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-a: B\r\ncontent-length: 4\r\n\r\nbody"


def test_an_answer_to_head_states_the_length_and_has_no_body() -> None:
    assert encode(HttpResponse(200, {}, b"body"), head_only=True) == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
    stated = HttpResponse(200, {"Content-Length": "1000"})
    assert encode(stated, head_only=True) == b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_have_neither_length_nor_body(status: int) -> None:
    encoded = encode(HttpResponse(status, {"allow": "GET"}, b"lost"))
    assert b"content-length" not in encoded
    assert encoded.endswith(b"allow: GET\r\n\r\n")


def test_a_connection_that_ends_says_so() -> None:
    assert b"\r\nconnection: close\r\n" in encode(HttpResponse(), close=True)


def test_unknown_statuses_are_sent_as_they_are() -> None:
    assert encode(HttpResponse(599)).startswith(b"HTTP/1.1 599 ")


@pytest.mark.parametrize("value", ["a\r\nset-cookie: x", "a\nb", "a\rb", "a\r\n\r\n<html>"])
@pytest.mark.parametrize("in_name", [False, True])
def test_a_line_break_in_a_header_cannot_split_the_response(value: str, in_name: bool) -> None:
    headers = {value: "x"} if in_name else {"x": value}
    encoded = encode(HttpResponse(200, headers, b"body"))
    assert encoded.startswith(b"HTTP/1.1 500 ")
    assert value.encode() not in encoded


def test_errors_have_the_contracts_shape() -> None:
    response = error_response(404, "ResourceNotFound", "No \u00e4.")
    assert response.body == b'{"error":{"code":"ResourceNotFound","message":"No \\u00e4."}}'
    assert response.headers == {"content-type": "application/json"}
