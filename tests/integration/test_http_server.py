"""The HTTP entry over real sockets: clients that behave, clients that do not, and the counters that tell of them."""

import json
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from dataplane.config import Authority, HttpLimits
from dataplane.http.message import HttpRequest, HttpResponse
from dataplane.http.protocol import Reply, Session
from tests.support.http_server import (
    SERVER_IDENTITY,
    ServerThread,
    interface,
    read_response,
    read_to_end,
    wait_for,
)
from tests.support.identities import client_context, client_identity, node_identity

pytestmark = pytest.mark.ci

SIMPLE = b"GET /x HTTP/1.1\r\n\r\n"
SCHEMES = pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])


def serve(tls: bool, dispatch: object = None, **options: object) -> ServerThread:
    authority = Authority.NODE if tls else Authority.UNSECURED
    arguments = {} if dispatch is None else {"dispatch": dispatch}
    return ServerThread(interfaces=[interface(authority=authority, **options)], **arguments)


class Held:
    """A dispatch that answers when told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[HttpRequest, Reply]] = []

    def __call__(self, session: Session, request: HttpRequest, reply: Reply) -> None:
        self.calls.append((request, reply))


@SCHEMES
def test_a_connection_serves_request_after_request(tls: bool) -> None:
    with serve(tls) as server, server.connect(tls=tls) as client:
        for body in (b"", b"x" * 100_000, b"y"):
            client.sendall(b"POST /a?b=c HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            status, headers, text = read_response(client)
            assert (status, text) == (200, b"POST /a?b=c %d None main" % len(body))
            assert headers["content-type"] == "text/plain"
            assert headers["x-session"] == "1"
            assert "connection" not in headers
        client.sendall(b"HEAD / HTTP/1.1\r\n\r\nGET /after HTTP/1.1\r\n\r\n")
        assert read_to_end_of(client, b"GET /after 0 None main").count(b"HTTP/1.1 200") == 2


def read_to_end_of(client: socket.socket, mark: bytes) -> bytes:
    data = b""
    while not data.endswith(mark):
        piece = client.recv(65536)
        assert piece, data
        data += piece
    return data


@SCHEMES
@pytest.mark.parametrize("request_bytes", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"])
def test_a_connection_ends_when_the_client_says_so(tls: bool, request_bytes: bytes) -> None:
    with serve(tls) as server, server.connect(tls=tls) as client:
        client.sendall(request_bytes)
        answer = read_to_end(client)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nconnection: close\r\n" in answer
    with serve(tls) as server, server.connect(tls=tls) as client:
        client.sendall(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        assert read_response(client)[0] == 200
        client.sendall(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        assert read_response(client)[0] == 200


def test_peers_are_told_apart_by_certificate(tmp_path: Path) -> None:
    users = [client_identity("one"), client_identity("two")]
    with serve(True) as server:
        for user in [*users, users[0]]:
            context = client_context(*user.write(tmp_path, "user"))
            with server.connect(tls=context) as client:
                client.sendall(SIMPLE * 2)
                assert read_to_end_of(client, b" main").count(user.fingerprint.encode()) == 2
        with server.connect() as client:
            client.sendall(SIMPLE)
            assert read_response(client)[2] == b"GET /x 0 None main"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_resume_with_their_identity(tmp_path: Path, version: ssl.TLSVersion) -> None:
    user = client_identity()
    context = client_context(*user.write(tmp_path, "user"))
    context.minimum_version = context.maximum_version = version
    with serve(True) as server:
        with server.connect(tls=context) as client:
            assert isinstance(client, ssl.SSLSocket)
            client.sendall(SIMPLE)
            read_response(client)
            session = client.session
        plain = server.connect(tls=False)
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as again:
            again.sendall(SIMPLE)
            assert user.fingerprint.encode() in read_response(again)[2]
            assert again.session_reused


def test_old_tls_is_refused() -> None:
    context = client_context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with serve(True) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            server.connect(tls=context)
        still_serving(server)


def still_serving(server: ServerThread, tls: bool = True) -> None:
    with server.connect(tls=tls) as client:
        client.sendall(SIMPLE)
        assert read_response(client)[0] == 200


@SCHEMES
def test_pipelined_requests_are_answered_in_order(tls: bool) -> None:
    with serve(tls) as server, server.connect(tls=tls) as client:
        count = 3000
        sender = threading.Thread(
            target=client.sendall, args=(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % index for index in range(count)),)
        )
        sender.start()
        answers = read_to_end_of(client, b"GET /%d 0 None main" % (count - 1))
        sender.join()
        order = [int(part.split(b" ")[0]) for part in answers.split(b"GET /")[1:]]
        assert order == list(range(count))


@SCHEMES
def test_one_request_at_a_time_and_late_answers_keep_their_order(tls: bool) -> None:
    held = Held()
    with serve(tls, held) as server, server.connect(tls=tls) as client:
        client.sendall(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\nconnection: close\r\n\r\n")
        for index in range(3):
            wait_for(lambda index=index: len(held.calls) == index + 1, "the next request")
            time.sleep(0.05)
            assert len(held.calls) == index + 1
            request, reply = held.calls[index]
            server.call(reply, HttpResponse(200, {}, request.url.encode()))
            server.call(reply, HttpResponse(500, {}, b"a second answer to the same request"))
        answers = read_to_end(client)
        assert [part[:2] for part in answers.split(b"\r\n\r\n")[1:]] == [b"/1", b"/2", b"/3"]
        assert b"500" not in answers


def test_an_answer_after_the_client_left_is_dropped() -> None:
    held = Held()
    with serve(True, held) as server:
        with server.connect() as client:
            client.sendall(SIMPLE)
            wait_for(lambda: held.calls, "the request")
        wait_for(lambda: server.metrics()["active"] in (0, 1), "the end")
        client.close()
        server.call(held.calls[0][1], HttpResponse())
        wait_for(lambda: server.metrics()["active"] == 0, "the end of the session")


@SCHEMES
def test_a_client_that_stops_sending_is_still_answered(tls: bool) -> None:
    held = Held()
    with serve(tls, held) as server, server.connect(tls=tls) as client:
        client.sendall(SIMPLE)
        wait_for(lambda: held.calls, "the request")
        socket.socket.shutdown(client, socket.SHUT_WR)
        time.sleep(0.05)
        server.call(held.calls[0][1], HttpResponse(200, {}, b"answer"))
        assert read_to_end(client).endswith(b"answer")


def test_an_exception_in_the_application_is_an_internal_error() -> None:
    def fail(session: Session, request: HttpRequest, reply: Reply) -> None:
        raise RuntimeError("what went wrong")

    with serve(True, fail) as server, server.connect() as client:
        for count in (1, 2):
            client.sendall(SIMPLE)
            status, headers, body = read_response(client)
            assert (status, json.loads(body)["error"]["code"]) == (500, "InternalError")
            assert b"what went wrong" in body
            assert "connection" not in headers
            assert server.unhandled == ["a request failed"] * count
        server.unhandled.clear()


@SCHEMES
@pytest.mark.parametrize(
    ("data", "status", "counter"),
    [
        (b"\x01\x02\x00\xff", 400, "parsing"),
        (b"POST / HTTP/1.1\r\ncontent-length: 2000000\r\n\r\n", 413, "request_payload_too_large"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", 431, "request_header_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300 + b"\r\n", 431, "request_header_too_large"),
    ],
)
def test_bad_requests_are_answered_counted_and_end_the_connection(
    tls: bool, data: bytes, status: int, counter: str
) -> None:
    with serve(tls) as server:
        with server.connect(tls=tls) as client:
            client.sendall(b"GET /first HTTP/1.1\r\n\r\n" + data)
            answers = read_to_end(client)
            assert answers.startswith(b"HTTP/1.1 200 OK")
            assert b"HTTP/1.1 %d " % status in answers
            assert b"\r\nconnection: close\r\n" in answers
            if status == 400:
                assert b"\r\n\r\nUnable to parse data as a HTTP request." in answers
                assert answers.endswith(data)
        errors = server.metrics()["errors"]
        assert errors == {**dict.fromkeys(errors, 0), counter: 1}
        still_serving(server, tls)


@SCHEMES
def test_an_oversized_body_is_refused_while_it_is_still_being_sent(tls: bool) -> None:
    with serve(tls, limits=HttpLimits(max_body_size=1000)) as server, server.connect(tls=tls) as client:
        head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
        client.sendall(head)
        for _ in range(40):
            client.sendall(b"fa0\r\n" + b"x" * 4000 + b"\r\n")
        answer = read_to_end(client)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"RequestBodyTooLarge" in answer


def test_garbage_on_a_tls_port_ends_that_connection_only() -> None:
    with serve(True) as server:
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 100_000, b"\x00" * 10, b"\x16"):
            with server.connect(tls=False) as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                assert b"HTTP" not in read_to_end(client)
        wait_for(lambda: server.metrics()["active"] == 0, "the end of all")
        still_serving(server)


def test_without_a_certificate_a_port_closes_what_connects() -> None:
    with ServerThread(interfaces=[interface(authority=Authority.SERVICE)], certificate=None) as server:
        with server.connect(tls=False) as client:
            assert read_to_end(client) == b""
        assert server.metrics()["peak"] == 0
        server.call(
            server.server.set_certificate, Authority.SERVICE, SERVER_IDENTITY.certificate_pem, SERVER_IDENTITY.key_pem
        )
        still_serving(server)


def test_a_certificate_is_swapped_while_sessions_go_on() -> None:
    renewed = node_identity("renewed")
    with ServerThread(interfaces=[interface("a"), interface("b", authority=Authority.SERVICE)]) as server:
        with server.connect("a") as old:
            server.call(server.server.set_certificate, Authority.NODE, renewed.certificate_pem, renewed.key_pem)
            old.sendall(SIMPLE)
            assert read_response(old)[0] == 200
        shown = {name: shown_certificate(server, name) for name in ("a", "b")}
        assert shown["a"] == ssl.PEM_cert_to_DER_cert(renewed.certificate_pem)
        assert shown["b"] == ssl.PEM_cert_to_DER_cert(SERVER_IDENTITY.certificate_pem)
        with pytest.raises(ValueError, match="does not belong"):
            server.call(server.server.set_certificate, Authority.NODE, renewed.certificate_pem, SERVER_IDENTITY.key_pem)
        assert shown_certificate(server, "a") == shown["a"]


def shown_certificate(server: ServerThread, name: str) -> bytes | None:
    with server.connect(name) as client:
        assert isinstance(client, ssl.SSLSocket)
        return client.getpeercert(binary_form=True)


@SCHEMES
def test_session_caps(tls: bool) -> None:
    with serve(tls, soft=3, hard=5) as server:
        clients = [server.connect(tls=tls) for _ in range(5)]
        for client in clients:
            client.sendall(SIMPLE)
        assert [read_response(client)[0] for client in clients[:3]] == [200] * 3
        for client in clients[3:]:
            answer = read_to_end(client)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == "SessionCapExhausted"
        wait_for(lambda: server.metrics()["active"] <= 5, "the count")
        clients += [server.connect(tls=tls) for _ in range(2)] if server.metrics()["active"] == 3 else []
        assert server.metrics()["peak"] == 5
        assert (server.metrics()["soft_cap"], server.metrics()["hard_cap"]) == (3, 5)
        for client in clients:
            client.close()
        wait_for(lambda: server.metrics()["active"] == 0, "all sessions ending")
        still_serving(server, tls)


def test_beyond_the_hard_cap_connections_are_closed_at_once() -> None:
    with serve(False, soft=3, hard=4) as server:
        clients = [server.connect(tls=False) for _ in range(4)]
        wait_for(lambda: server.metrics()["active"] == 4, "four sessions")
        for _ in range(20):
            with server.connect(tls=False) as refused:
                assert read_to_end(refused) == b""
        assert server.metrics()["active"] == server.metrics()["peak"] == 4
        for client in clients:
            client.close()


@SCHEMES
def test_idle_sessions_are_closed_and_busy_ones_are_not(tls: bool) -> None:
    held = Held()
    authority = Authority.NODE if tls else Authority.UNSECURED
    with ExitStack() as stack:
        server = stack.enter_context(ServerThread(held, [interface(authority=authority)], idle_timeout_ms=300))
        busy, idle = (stack.enter_context(server.connect(tls=tls)) for _ in range(2))
        mute = stack.enter_context(server.connect(tls=False))
        busy.sendall(SIMPLE)
        wait_for(lambda: held.calls, "the request")
        started_s = time.monotonic()
        assert read_to_end(idle) == b""
        assert read_to_end(mute) == b""
        assert 0.2 < time.monotonic() - started_s < 3
        server.call(held.calls[0][1], HttpResponse(200, {}, b"late"))
        assert read_response(busy)[2] == b"late"


def test_a_client_that_never_reads_stops_being_served_and_bounds_memory() -> None:
    served = 0

    def large(session: Session, request: HttpRequest, reply: Reply) -> None:
        nonlocal served
        served += 1
        reply(HttpResponse(200, {}, bytes(100_000)))

    with ServerThread(large, [interface()], idle_timeout_ms=1500) as server, server.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0.5)
        assert send_until_stuck(client, SIMPLE * 100) > 10
        connections = server.server._ports["main"].connections
        assert [connection._transport.get_write_buffer_size() < 1_000_000 for connection in connections] == [True]
        before = served
        time.sleep(0.2)
        assert served == before < 200
        still_serving(server)
        wait_for(lambda: server.metrics()["active"] == 0, "the idle sweep giving it up")


def send_until_stuck(client: socket.socket, data: bytes) -> int:
    """Send `data` again and again; how often it went before the other side stopped taking it."""
    for count in range(5_000):
        try:
            client.sendall(data)
        except TimeoutError:
            return count
    raise AssertionError("the server takes everything")


def test_a_slow_reader_gets_all_of_a_last_response() -> None:
    def large(session: Session, request: HttpRequest, reply: Reply) -> None:
        reply(HttpResponse(200, {}, bytes(20_000_000)))

    with serve(True, large) as server, server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
        time.sleep(2.5)
        assert len(read_to_end(client)) > 20_000_000


def test_a_slow_sender_is_waited_for() -> None:
    with serve(True) as server, server.connect() as client:
        for byte in b"POST /slow HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc":
            client.sendall(bytes([byte]))
        assert read_response(client)[2] == b"POST /slow 3 None main"


def test_closing_answers_what_is_under_way() -> None:
    held = Held()
    with serve(True, held) as server, server.connect() as busy, server.connect() as idle:
        busy.sendall(SIMPLE)
        wait_for(lambda: held.calls, "the request")
        idle_end = threading.Thread(target=read_to_end, args=(idle,))
        idle_end.start()
        server.loop.call_soon_threadsafe(
            server.loop.call_later, 0.2, held.calls[0][1], HttpResponse(200, {}, b"finished")
        )
        server.run(server.server.close(grace_ms=5000))
        assert read_to_end(busy).endswith(b"finished")
        idle_end.join(5)
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_closing_does_not_wait_for_ever() -> None:
    held = Held()
    with serve(True, held) as server, server.connect() as busy:
        busy.sendall(SIMPLE)
        wait_for(lambda: held.calls, "the request")
        started_s = time.monotonic()
        server.run(server.server.close(grace_ms=200))
        assert time.monotonic() - started_s < 2
        assert read_to_end(busy) == b""


@SCHEMES
def test_random_bytes_do_no_harm(tls: bool) -> None:
    draw = random.Random(20260101)
    with serve(tls) as server:
        for _ in range(60):
            with server.connect(tls=tls) as client:
                data = bytearray(b"POST /app HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nsome body" * 3)
                for _ in range(draw.randrange(1, 6)):
                    data[draw.randrange(len(data))] = draw.randrange(256)
                client.sendall(bytes(data) if draw.random() < 0.7 else draw.randbytes(draw.randrange(1, 3000)))
                socket.socket.shutdown(client, socket.SHUT_WR)
                answers = read_to_end(client)
                assert set(re.findall(rb"^HTTP/1.1 (\d+) ", answers, re.MULTILINE)) <= {b"200", b"400", b"413", b"431"}
        wait_for(lambda: server.metrics()["active"] == 0, "all sessions ending")
        still_serving(server, tls)


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def curl(server: ServerThread, *arguments: str) -> str:
    command = [
        "curl",
        "-sS",
        "-k",
        "--max-time",
        "10",
        "-w",
        r"\n%{http_code} %{http_version}",
        server.url("/c"),
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


@needs_curl
def test_curl_in_all_its_protocols(tmp_path: Path) -> None:
    certificate, key = client_identity().write(tmp_path, "user")
    with serve(True) as server:
        golden = curl(server)
        assert golden.splitlines() == ["GET /c 0 None main", "200 1.1"]
        for arguments in (
            ["--http1.0"], ["--http1.1"], ["--http2"], ["-H", "Upgrade: websocket", "-H", "Connection: Upgrade"],
        ):  # fmt: skip
            assert curl(server, *arguments) == golden, arguments
        assert curl(server, "-I").splitlines()[0] == "HTTP/1.1 200 OK"
        body = tmp_path / "body"
        body.write_bytes(b"x" * 50_000)
        started_s = time.monotonic()
        answer = curl(server, "--data-binary", f"@{body}", "-H", "Expect: 100-continue", "--expect100-timeout", "5")
        assert "POST /c 50000" in answer
        assert time.monotonic() - started_s < 4
        body.write_bytes(b"x" * 1_100_000)
        refused = curl(server, "--data-binary", f"@{body}", "-H", "Expect: 100-continue")
        assert "RequestBodyTooLarge" in refused
        assert refused.endswith("413 1.1")
        refused = curl(server, "--data-binary", f"@{body}", "-H", "Expect:")
        assert refused.endswith("413 1.1")
        assert " None " not in curl(server, "--cert", str(certificate), "--key", str(key)).splitlines()[0]


STORM = """
import asyncio, logging, os, resource, socket, sys, time
import uvloop
from dataplane.config import Authority
from dataplane.http.server import HttpServer
from tests.support.http_server import SERVER_IDENTITY, echo, interface

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    server = HttpServer(echo)
    address = await server.listen(interface(soft=int(sys.argv[2]), hard=int(sys.argv[3])))
    server.set_certificate(Authority.NODE, SERVER_IDENTITY.certificate_pem, SERVER_IDENTITY.key_pem)
    print(address.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    print(server.metrics()["peak"], flush=True)

uvloop.run(main())
"""


@pytest.mark.parametrize(
    ("descriptors", "soft", "hard"), [(4000, 20, 30), (60, 1000, 1010)], ids=["caps", "descriptors"]
)
def test_a_storm_of_connections(descriptors: int, soft: int, hard: int) -> None:
    """5,000 connections against the caps, then against the limit of open files: the port serves on, stderr is empty."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", STORM, str(descriptors), str(soft), str(hard)],
        cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        port = int(process.stdout.readline())
        for _ in range(10):
            burst = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(500)]
            for each in burst:
                each.close()
        wait_for(lambda: answers(port), "an answer after the storm")
        out, err = process.communicate("\n", timeout=10)
        assert err == ""
        assert int(out) <= min(hard, descriptors)


def answers(port: int) -> bool:
    try:
        with client_context().wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=2)) as client:
            client.sendall(SIMPLE)
            return read_response(client)[0] == 200
    except (OSError, AssertionError):
        return False
