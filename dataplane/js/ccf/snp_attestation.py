"""`snp_attestation`: reports of SEV-SNP machines (node-api.md 5.8)."""

from dataplane.js.host import Host
from dataplane.js.quickjs import Arguments, Thrown, Value, is_absent

_NOT_SERVED = "Failed to verify SNP attestation: this node cannot verify SEV-SNP reports"


def verify_snp(host: Host, _count: int, argv: Arguments) -> Value:
    """Refuses every report, after its arguments: this node has no verifier for that platform."""
    host.context.buffer(argv[1])
    host.context.buffer(argv[2])
    if not is_absent(argv[3]):
        host.context.buffer(argv[3])
    raise Thrown(_NOT_SERVED, "InternalError")
