"""The *virtual* platform: a simulation, labelled so in its evidence (ledger-format.md 7.5).

Nothing vouches for a virtual quote: anybody can write one. It exercises the exchange of evidence and the service's
lists of what it trusts, and protects nothing. A service that lists no virtual measurement accepts none.
"""

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Container
from datetime import datetime
from hashlib import sha256

from dataplane.attestation.platform import Claims, Evidence, InvalidQuote

FORMAT = "Insecure_Virtual"
MEASUREMENT = "Insecure hard-coded virtual measurement v1"

_REPORT_DATA_SIZE = 32


class VirtualPlatform:
    """A simulated platform that runs the executable with the given SHA-256."""

    format = FORMAT

    def __init__(self, executable_digest: bytes) -> None:
        """`executable_digest` has 32 bytes and becomes the host data."""
        self._host_data = executable_digest.hex()

    def attest(self, report_data: bytes) -> Evidence:
        """Evidence about this node; `report_data` has 32 bytes."""
        if len(report_data) != _REPORT_DATA_SIZE:
            raise ValueError(f"report data has {_REPORT_DATA_SIZE} bytes, not {len(report_data)}")
        quote = {
            "host_data": self._host_data,
            "measurement": MEASUREMENT,
            "report_data": b64encode(report_data).decode(),
        }
        return Evidence(FORMAT, json.dumps(quote, separators=(",", ":")).encode())

    def verify(self, evidence: Evidence, now: datetime) -> Claims:
        """What the quote says; the time does not matter to a simulation. Raises `InvalidQuote`."""
        return read_quote(evidence)


def read_quote(evidence: Evidence) -> Claims:
    """The claims of a virtual quote; raises `InvalidQuote` for other formats and malformed quotes."""
    if evidence.format != FORMAT:
        raise InvalidQuote(f"Quote could not be verified: its format is {evidence.format!r}, not {FORMAT}")
    try:
        quote = json.loads(evidence.quote)
        report_data = b64decode(quote["report_data"], validate=True)
        measurement, host_data = quote["measurement"], quote["host_data"]
    except (KeyError, TypeError, ValueError, RecursionError, Base64Error) as error:
        raise InvalidQuote("Quote could not be verified: the virtual quote is malformed") from error
    if not isinstance(measurement, str) or not isinstance(host_data, str) or len(report_data) != _REPORT_DATA_SIZE:
        raise InvalidQuote("Quote could not be verified: the virtual quote is malformed")
    return Claims(measurement, host_data, report_data)


def check_trusted(
    claims: Claims, public_key_der: bytes, *, measurements: Container[str], host_data: Container[str]
) -> None:
    """Whether a service trusts these claims of a node with this key (SPKI DER); raises `InvalidQuote`.

    The lists are what the service's tables hold. Order and texts: ledger-format.md 8.5, node-api.md 1.8.
    """
    if claims.host_data not in host_data:
        raise InvalidQuote("Quote host data is not authorised")
    if claims.measurement not in measurements:
        raise InvalidQuote("Quote does not contain known enclave measurement")
    if claims.report_data != sha256(public_key_der).digest():
        raise InvalidQuote("Quote report data does not contain node's public key hash")
