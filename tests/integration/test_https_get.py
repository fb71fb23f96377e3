"""One GET over real TLS: whom it trusts, and what it makes of answers."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dataplane.crypto.keys import private_pem
from dataplane.node.https_get import HttpsFailed, _names, https_get
from tests.support.identities import client_identity
from tests.support.loops import on_uvloop
from tests.support.tls_server import ServiceIdentity

AUTHORITY = ServiceIdentity()
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


async def _with_server(
    directory: Path,
    certificate: str,
    key_pem: str,
    answer: bytes,
    ask: Callable[[int], Awaitable[None]],
    *,
    close: bool = True,
) -> bytes:
    """Serve `answer` to one request while `ask(port)` runs; the request as received."""
    pem = directory / "server.pem"
    pem.write_text(key_pem + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    received = bytearray()
    asked = asyncio.Event()
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        try:
            received.extend(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if not close:
                await asked.wait()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        await ask(server.sockets[0].getsockname()[1])
    finally:
        asked.set()
        await asyncio.gather(*(task for task in serving if task), return_exceptions=True)
        server.close()
        await server.wait_closed()
    return bytes(received)


def _endorsed(*sans: str) -> tuple[str, str]:
    key, certificate = AUTHORITY.node(*sans)
    return certificate, private_pem(key)


def _get(directory: Path, answer: bytes, url: str = "https://127.0.0.1:{port}/keys?a=1", **how: object) -> object:
    """What a get of `url` gives, or the failure it raises."""
    certificate, key_pem = how.get("identity") or _endorsed("iPAddress:127.0.0.1", "dNSName:localhost")  # type: ignore[misc]
    bundle, timeout_s = str(how.get("bundle", AUTHORITY.certificate)), float(how.get("timeout_s", 5))  # type: ignore[arg-type]
    outcome: list[object] = []

    @on_uvloop
    async def play() -> None:
        async def ask(port: int) -> None:
            try:
                found = await https_get(url.format(port=port), bundle, timeout_s)
                outcome.append((found.status, found.body))
            except HttpsFailed as error:
                outcome.append(str(error))

        outcome.append(
            await _with_server(directory, certificate, key_pem, answer, ask, close=bool(how.get("close", 1)))
        )

    play()
    return outcome[0] if how.get("request") is None else outcome


def test_an_answer_of_known_length(tmp_path: Path) -> None:
    outcome = _get(tmp_path, OK, request=True)
    assert isinstance(outcome, list)
    answer, request = outcome
    assert answer == (200, b"{}")
    assert request.startswith(b"GET /keys?a=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"connection: close" in request


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n!\r\n0\r\n\r\n", (200, b"{}!")),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", (200, b"until the end")),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 1\r\n\r\nx", (404, b"x")),
        (b"HTTP/1.1 302 Found\r\nlocation: https://x\r\ncontent-length: 0\r\n\r\n", (302, b"")),
    ],
)
def test_forms_of_answers(tmp_path: Path, answer: bytes, expected: object) -> None:
    assert _get(tmp_path, answer) == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"garbage\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "before the answer was whole"),
        (b"", "before the answer was whole"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n" + bytes(1 << 21), "longer than"),
    ],
)
def test_answers_that_are_none(tmp_path: Path, answer: bytes, reason: str) -> None:
    assert reason in str(_get(tmp_path, answer))


def test_silence_ends(tmp_path: Path) -> None:
    assert "did not answer in 0.2 s" in str(_get(tmp_path, b"", timeout_s=0.2, close=False))


def test_a_name_the_certificate_has(tmp_path: Path) -> None:
    assert _get(tmp_path, OK, "https://localhost:{port}/") == (200, b"{}")


@pytest.mark.parametrize("sans", [(), ("dNSName:other",), ("iPAddress:127.0.0.2",), ("dNSName:127.0.0.1",)])
def test_an_endorsed_server_of_another_name_is_refused(tmp_path: Path, sans: tuple[str, ...]) -> None:
    assert "of another name" in str(_get(tmp_path, OK, identity=_endorsed(*sans)))


def test_a_certificate_in_the_bundle_itself_needs_no_name(tmp_path: Path) -> None:
    server = client_identity("issuer")
    bundle = AUTHORITY.certificate + server.certificate_pem
    assert _get(tmp_path, OK, identity=(server.certificate_pem, server.key_pem), bundle=bundle) == (200, b"{}")


def test_a_server_that_nobody_in_the_bundle_vouches_for(tmp_path: Path) -> None:
    stranger = ServiceIdentity().certificate
    assert "certificate verify failed" in str(_get(tmp_path, OK, bundle=stranger))


@pytest.mark.parametrize("bundle", ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_bundles_that_are_none(tmp_path: Path, bundle: str) -> None:
    assert "bundle cannot be used" in str(_get(tmp_path, OK, bundle=bundle))


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "https://", "https://[", "127.0.0.1", "https://h/a b", "https://h/\n", "https://h:99999/",
     "https://" + "a" * 80 + ".x/", "https://h/é"],
)  # fmt: skip
@on_uvloop
async def test_urls_that_cannot_be_asked(url: str) -> None:
    with pytest.raises(HttpsFailed):
        await https_get(url, AUTHORITY.certificate, 2)


@on_uvloop
async def test_nobody_listens() -> None:
    with pytest.raises(HttpsFailed, match="cannot be reached"):
        await https_get("https://127.0.0.1:1/", AUTHORITY.certificate, 2)


def test_wildcards_stand_for_one_label() -> None:
    der = ssl.PEM_cert_to_DER_cert(AUTHORITY.node("dNSName:*.issuer.example")[1])
    assert _names(der, "keys.Issuer.example.")
    assert not any(_names(der, name) for name in ("issuer.example", "a.keys.issuer.example", "keys.other.example"))
    narrow = ssl.PEM_cert_to_DER_cert(AUTHORITY.node("dNSName:*.example")[1])
    assert not _names(narrow, "issuer.example")
