"""File descriptors as a bounded good: connections must not take those that ledger files need (node-api.md 1.5).

A node that cannot open its next chunk stops. So who accepts a connection gives it up when few descriptors are left.
"""

import asyncio
import resource
from contextlib import suppress


def is_scarce(transport: asyncio.BaseTransport, kept: int) -> bool:
    """Whether this accepted connection holds one of the last `kept` descriptors the process may have.

    The kernel gives the lowest free number, so a high one says that all below are taken. The limit is asked each time:
    an operator may change it while the node runs.
    """
    sock = transport.get_extra_info("socket")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sock is not None and limit != resource.RLIM_INFINITY and sock.fileno() >= limit - kept


def raise_descriptor_limit() -> None:
    """Use all the descriptors the system grants: its soft limit is often near the default session cap."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
