"""`ccf.rpc`: what a function decides about its own transaction (node-api.md 5.8)."""

from dataplane.js.host import Host
from dataplane.js.quickjs import UNDEFINED, Arguments, Thrown, Value, as_bool

_DIGEST_BYTES = 32


def set_apply_writes(host: Host, _count: int, argv: Arguments) -> Value:
    """Keep the writes although the answer is an error, or drop them although it is none."""
    host.invocation.apply_writes = as_bool(argv[1])
    return UNDEFINED


def set_claims_digest(host: Host, _count: int, argv: Arguments) -> Value:
    """The digest that the transaction's receipt will attest."""
    claims = host.context.buffer(argv[1])
    if len(claims) != _DIGEST_BYTES:
        raise Thrown(f"The claims digest must have {_DIGEST_BYTES} bytes, not {len(claims)}")
    host.tx().claims_digest = claims
    return UNDEFINED
