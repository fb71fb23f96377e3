"""TLS 1.2 and 1.3 in memory, over pyOpenSSL: bytes in, bytes out, no socket (node-api.md 1.5).

Any client certificate is accepted, and none: who the peer is, is decided from its fingerprint by the application. The
standard library cannot do that, pyOpenSSL's verify callback can. Node-to-node channels use the same machine and demand
a certificate from both sides.
"""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, dump_certificate

_RECORD_BYTES = 16_384
_RECORD_HEADER_BYTES = 5
# What a record adds to its plaintext: header, explicit nonce, padding, tag or MAC; rounded up.
_RECORD_OVERHEAD_BYTES = 128
_FLIGHT_BYTES = 65_536
_TICKET_LIFETIME_S = 300
# Not named by pyOpenSSL (openssl/ssl.h): an idle connection gives its two 17 KB record buffers back.
_MODE_RELEASE_BUFFERS = 0x10


class TlsError(Exception):
    """The peer broke the protocol or cannot agree with us; the connection cannot go on."""


class TlsConnection:
    """One TLS session over memory BIOs.

    Feed it what the socket gives; send what `feed`'s caller finds in `take_ciphertext`, `write` and `shutdown`.
    """

    __slots__ = ("_connection", "_owed", "_peer_der", "_peer_known", "_stub", "closed_by_peer", "established")

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection
        self._owed = 0
        self._stub = b""
        self._peer_known = False
        self._peer_der: bytes | None = None
        self.established = False
        self.closed_by_peer = False

    def start(self) -> bytes:
        """Begin the handshake; give a client's hello, and nothing on a server, which waits for one."""
        self._handshake()
        return self.take_ciphertext()

    def feed(self, ciphertext: bytes) -> list[bytes]:
        """Take bytes from the socket and give the plaintext they complete, at most 16 KB a piece.

        Until `established`, and after an error, an answer for the peer may wait in `take_ciphertext`. After the
        peer's close_notify `closed_by_peer` is true and further bytes are ignored. Raises `TlsError`.
        """
        if self.closed_by_peer or not ciphertext:
            return []
        self._connection.bio_write(ciphertext)
        records = self._count_records(ciphertext)
        if not self.established:
            if not self._handshake():
                return []
            return self._read(_RECORD_BYTES)  # as often as it takes: what came behind the handshake was not counted
        return self._read(records)

    def write(self, plaintext: bytes) -> bytes:
        """Encrypt, and give the ciphertext to send, whatever waited before included. Raises `TlsError`."""
        if not plaintext:
            return self.take_ciphertext()
        try:
            self._connection.sendall(plaintext)
        except SSL.Error as error:
            raise TlsError(_reason(error)) from error
        records = len(plaintext) // _RECORD_BYTES + 1
        return self._take(len(plaintext) + records * _RECORD_OVERHEAD_BYTES)

    def take_ciphertext(self) -> bytes:
        """What waits to be sent: handshake flights, alerts, tickets."""
        return self._take(_FLIGHT_BYTES)

    def shutdown(self) -> bytes:
        """Say close_notify; give the bytes to send. Harmless in any state."""
        try:
            self._connection.shutdown()
        except SSL.Error:
            return b""
        return self.take_ciphertext()

    @property
    def peer_certificate_der(self) -> bytes | None:
        """The peer's certificate, None when it sent none. Known once `established`, and computed once."""
        if not self._peer_known:
            certificate = self._connection.get_peer_certificate()
            self._peer_der = None if certificate is None else dump_certificate(FILETYPE_ASN1, certificate)
            self._peer_known = self.established
        return self._peer_der

    def _handshake(self) -> bool:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise TlsError(_reason(error)) from error
        self.established = True
        return True

    def _count_records(self, data: bytes) -> int:
        # A read that finds nothing raises WantRead, which costs as much as decrypting a small record. Each complete
        # record is one successful read, so the framing tells how often to try.
        if self._stub:
            data, self._stub = self._stub + data, b""
        size, position = len(data), self._owed
        records = 1 if 0 < position <= size else 0
        while position + _RECORD_HEADER_BYTES <= size:
            position += _RECORD_HEADER_BYTES + (data[position + 3] << 8 | data[position + 4])
            records += position <= size
        self._owed = max(0, position - size)
        if position < size:
            self._stub = data[position:]
        return records

    def _read(self, most: int) -> list[bytes]:
        chunks: list[bytes] = []
        try:
            for _ in range(most):
                chunks.append(self._connection.recv(_RECORD_BYTES))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed_by_peer = True
        except SSL.Error as error:
            raise TlsError(_reason(error)) from error
        return chunks

    def _take(self, size: int) -> bytes:
        pieces: list[bytes] = []
        try:
            while True:
                piece = self._connection.bio_read(size)
                if len(piece) < size and not pieces:
                    return piece
                pieces.append(piece)
        except SSL.WantReadError:
            return b"".join(pieces)


class TlsServerContext:
    """What a listening side presents. One per certificate: a new certificate is a new context, which new connections
    use, while those that exist go on.

    `certificate_pem` may hold a chain, leaf first. With `demand_certificate` a client without one is refused; any
    certificate is accepted either way. Raises `ValueError` when key and certificate do not fit.
    """

    def __init__(self, certificate_pem: str, key_pem: str, *, demand_certificate: bool = False) -> None:
        mode = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if demand_certificate else 0)
        self._context = _context(SSL.TLS_SERVER_METHOD, certificate_pem, key_pem, mode)
        # Without an id of its own OpenSSL refuses to resume sessions that carry a client certificate. Tickets keep the
        # state at the client, so nothing is cached here.
        self._context.set_session_id(b"mccf")
        self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self._context.set_timeout(_TICKET_LIFETIME_S)

    def connection(self) -> TlsConnection:
        """The server side of a new session."""
        connection = SSL.Connection(self._context, None)
        connection.set_accept_state()
        return TlsConnection(connection)


class TlsClientContext:
    """What a dialling side presents; whom it reached is for the caller to check."""

    def __init__(self, certificate_pem: str, key_pem: str) -> None:
        self._context = _context(SSL.TLS_CLIENT_METHOD, certificate_pem, key_pem, SSL.VERIFY_PEER)

    def connection(self) -> TlsConnection:
        """The client side of a new session."""
        connection = SSL.Connection(self._context, None)
        connection.set_connect_state()
        return TlsConnection(connection)


def _context(method: int, certificate_pem: str, key_pem: str, mode: int) -> SSL.Context:
    leaf, *chain = x509.load_pem_x509_certificates(certificate_pem.encode())
    key = load_pem_private_key(key_pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the TLS key is not on an elliptic curve")
    if key.public_key() != leaf.public_key():
        raise ValueError("the TLS key does not belong to the certificate")
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_mode(_MODE_RELEASE_BUFFERS)
    context.use_certificate(leaf)
    context.use_privatekey(key)
    for certificate in chain:
        context.add_extra_chain_cert(certificate)
    context.set_verify(mode, _accept_any)
    return context


def _accept_any(*_: object) -> bool:
    return True


def _reason(error: SSL.Error) -> str:
    stack = error.args[0] if error.args else None
    if isinstance(stack, list) and stack:
        return str(stack[0][-1])
    return str(error) or type(error).__name__
