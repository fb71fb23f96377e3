"""The platforms by name, and the way evidence of any of them is judged."""

from collections.abc import Container, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from dataplane.attestation.platform import Evidence, InvalidQuote, Platform
from dataplane.attestation.virtual import VirtualPlatform, check_trusted, read_quote

VIRTUAL = "virtual"


def load_platform(name: str, executable: Path) -> Platform:
    """The platform this node runs on; `executable` is the file it was started from. Raises `ValueError`, `OSError`."""
    if name.lower() != VIRTUAL:
        raise ValueError(f"unknown platform {name!r}; known: {VIRTUAL}")
    return VirtualPlatform(sha256(executable.read_bytes()).digest())


def verify_join_evidence(
    quote_info: Mapping[str, Any],
    public_key_der: bytes,
    *,
    trusted_measurements: Container[str],
    trusted_host_data: Container[str],
) -> str | None:
    """Why a node with this key (SPKI DER) may not join, in the words of node-api.md 1.8; None when it may.

    The lists are those of the virtual platform; evidence of any other format is refused.
    """
    try:
        claims = read_quote(Evidence.from_json(quote_info))
        check_trusted(claims, public_key_der, measurements=trusted_measurements, host_data=trusted_host_data)
    except InvalidQuote as error:
        return error.message
    return None
