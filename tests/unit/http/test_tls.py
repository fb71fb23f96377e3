"""TLS in memory: both ends in one process, records torn at every place."""

import pytest

from dataplane.http.tls import TlsClientContext, TlsConnection, TlsError, TlsServerContext
from tests.support.identities import client_identity, node_identity

SERVER = node_identity("server")
USER = client_identity()
CONTEXT = TlsServerContext(SERVER.certificate_pem, SERVER.key_pem)


def shake(client: TlsConnection, server: TlsConnection, step: int = 1 << 20) -> None:
    """Pass flights back and forth in pieces of `step` bytes until both are established."""
    to_server, to_client = client.start(), b""
    for _ in range(10):
        feed(server, to_server, step)
        to_client = server.take_ciphertext()
        feed(client, to_client, step)
        to_server = client.take_ciphertext()
        if client.established and server.established and not to_server:
            return
    raise AssertionError("no handshake")


def feed(connection: TlsConnection, data: bytes, step: int) -> bytes:
    return b"".join(b"".join(connection.feed(data[at : at + step])) for at in range(0, len(data), step))


def pair(step: int = 1 << 20) -> tuple[TlsConnection, TlsConnection]:
    client = TlsClientContext(USER.certificate_pem, USER.key_pem).connection()
    server = CONTEXT.connection()
    shake(client, server, step)
    return client, server


@pytest.mark.parametrize("step", [1, 2, 5, 4096, 1 << 20])
def test_data_survives_any_tearing(step: int) -> None:
    client, server = pair(step)
    for size in (1, 16_384, 16_385, 50_000):
        message = bytes(range(256)) * (size // 256 + 1)
        assert feed(server, client.write(message), step) == message
        assert feed(client, server.write(message), step) == message


def test_several_messages_in_one_read() -> None:
    client, server = pair()
    ciphertext = b"".join(client.write(b"%d" % index) for index in range(20))
    assert b"".join(server.feed(ciphertext[:-3])) == b"".join(b"%d" % index for index in range(19))
    assert server.feed(ciphertext[-3:]) == [b"19"]


def test_the_peer_is_known_by_its_certificate() -> None:
    client, server = pair()
    assert server.peer_certificate_der is not None
    assert client.peer_certificate_der is not None
    assert server.peer_certificate_der is server.peer_certificate_der


def test_close_notify_is_seen_after_the_data_before_it() -> None:
    client, server = pair()
    assert server.feed(client.write(b"last") + client.shutdown()) == [b"last"]
    assert server.closed_by_peer
    assert server.feed(b"ignored") == []
    assert b"".join(client.feed(server.write(b"answer"))) == b"answer"


def test_garbage_is_an_error_with_an_alert() -> None:
    server = CONTEXT.connection()
    with pytest.raises(TlsError):
        server.feed(b"GET / HTTP/1.1\r\n\r\n")
    client, server = pair()
    ciphertext = bytearray(client.write(b"x" * 100))
    ciphertext[50] ^= 1
    with pytest.raises(TlsError):
        server.feed(bytes(ciphertext))
    assert server.take_ciphertext()


def test_a_key_of_another_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match="does not belong"):
        TlsServerContext(SERVER.certificate_pem, USER.key_pem)


def test_a_certificate_can_be_demanded() -> None:
    demanding = TlsServerContext(SERVER.certificate_pem, SERVER.key_pem, demand_certificate=True)
    shake(TlsClientContext(USER.certificate_pem, USER.key_pem).connection(), demanding.connection())
