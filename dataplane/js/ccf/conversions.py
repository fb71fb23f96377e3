"""Conversions between text, JSON and bytes, at the top of `ccf` (node-api.md 5.8)."""

from dataplane.js.host import Host
from dataplane.js.quickjs import FALSE, TRUE, Arguments, Thrown, Value, as_bool, is_text


def str_to_buf(host: Host, _count: int, argv: Arguments) -> Value:
    """The UTF-8 bytes of a string."""
    if not is_text(argv[1]):
        raise Thrown("Argument must be a string", "TypeError")
    return host.context.new_buffer(_valid_utf8(host.context.utf8(argv[1])))


def buf_to_str(host: Host, _count: int, argv: Arguments) -> Value:
    """The text of UTF-8 bytes; what is invalid becomes U+FFFD."""
    return host.context.new_text_utf8(_valid_utf8(host.context.buffer(argv[1])))


def buf_to_json(host: Host, _count: int, argv: Arguments) -> Value:
    """The value of a JSON text in UTF-8."""
    return host.context.parse_json(_valid_utf8(host.context.buffer(argv[1])), b"<buffer>")


def enable_metrics(host: Host, _count: int, argv: Arguments) -> Value:
    """Turn the line per request on or off; the setting until now."""
    before = host.metrics_logging
    host.metrics_logging = as_bool(argv[1])
    return TRUE if before else FALSE


def _valid_utf8(data: bytes) -> bytes:
    """`data` itself where it is UTF-8, which ASCII always is; lone surrogates of the engine's strings are replaced."""
    if data.isascii():
        return data
    return data.decode("utf-8", "replace").encode()
