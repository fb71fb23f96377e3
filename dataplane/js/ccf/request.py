"""The parts of a request object that are made when they are read (node-api.md 5.3)."""

from dataplane.js.host import Host, RequestSource
from dataplane.js.quickjs import Arguments, Thrown, Value


def request_headers(host: Host, _count: int, _argv: Arguments) -> Value:
    """The headers as JSON text."""
    return host.context.new_text(_request(host).headers_json())


def request_caller(host: Host, _count: int, _argv: Arguments) -> Value:
    """The caller, as JSON text or as a value."""
    return host.context.from_python(_request(host).caller())


def request_text(host: Host, _count: int, _argv: Arguments) -> Value:
    """The body as text."""
    return host.context.new_text_utf8(_valid_utf8(_request(host).body))


def request_json(host: Host, _count: int, _argv: Arguments) -> Value:
    """The value of the body's JSON."""
    return host.context.parse_json(_valid_utf8(_request(host).body), b"<body>")


def request_buffer(host: Host, _count: int, _argv: Arguments) -> Value:
    """The body's bytes."""
    return host.context.new_buffer(_request(host).body)


def _request(host: Host) -> RequestSource:
    request = host.invocation.request
    if request is None:
        raise Thrown("No request is being served")
    return request


def _valid_utf8(data: bytes) -> bytes:
    return data if data.isascii() else data.decode("utf-8", "replace").encode()
