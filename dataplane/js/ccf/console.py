"""`console` and the entropy behind `Math.random` (node-api.md 5.8)."""

from dataplane.js.host import Host
from dataplane.js.quickjs import UNDEFINED, Arguments, Value

_RANDOM_BYTES = 512


def log(host: Host, _count: int, argv: Arguments) -> Value:
    """One line of the application for the node's log."""
    host.invocation.console(host.context.text(argv[1]), host.context.text(argv[2]))
    return UNDEFINED


def random(host: Host, _count: int, _argv: Arguments) -> Value:
    """Random bytes for the next numbers."""
    return host.context.new_buffer(host.invocation.random_bytes(_RANDOM_BYTES))
