"""Evidence, what it claims, and what a platform does with it. Platform differences end at `Claims`."""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from dataplane.errors import CcfError


class InvalidQuote(CcfError):
    """The evidence of a joining node is malformed, or not what the service trusts (node-api.md 6.4)."""

    status, code = 401, "InvalidQuote"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a platform signs about a node, with what it takes to check it: `quote_info` of ledger-format.md 7.3."""

    format: str
    quote: bytes
    endorsements: bytes = b""
    uvm_endorsements: bytes | None = None
    endorsed_tcb: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The `quote_info` object."""
        value: dict[str, Any] = {
            "endorsements": b64encode(self.endorsements).decode(),
            "format": self.format,
            "quote": b64encode(self.quote).decode(),
        }
        if self.uvm_endorsements is not None:
            value["uvm_endorsements"] = b64encode(self.uvm_endorsements).decode()
        if self.endorsed_tcb is not None:
            value["endorsed_tcb"] = self.endorsed_tcb
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Evidence":
        """Read a `quote_info` object; raises `InvalidQuote`."""
        try:
            uvm, tcb = value.get("uvm_endorsements"), value.get("endorsed_tcb")
            if not (tcb is None or isinstance(tcb, str)):
                raise TypeError("endorsed_tcb is not a text")
            return cls(
                format=str(value["format"]),
                quote=b64decode(value["quote"], validate=True),
                endorsements=b64decode(value["endorsements"], validate=True),
                uvm_endorsements=None if uvm is None else b64decode(uvm, validate=True),
                endorsed_tcb=tcb,
            )
        except (KeyError, TypeError, AttributeError, ValueError, Base64Error) as error:
            raise InvalidQuote(f"Quote could not be verified: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Claims:
    """What verified evidence says.

    `measurement`: of the code, as text in the form the platform's table of measurements uses. `host_data`: 64 hex
    digits. `report_data`: the 32 bytes the node chose, the digest of its public key.
    """

    measurement: str
    host_data: str
    report_data: bytes


class Platform(Protocol):
    """A way to run nodes. `verify` is pure; `attest` may touch a device."""

    @property
    def format(self) -> str:
        """The `format` of its evidence."""

    def attest(self, report_data: bytes) -> Evidence:
        """Evidence about this node; `report_data` has 32 bytes."""

    def verify(self, evidence: Evidence, now: datetime) -> Claims:
        """What `evidence` of this format claims; raises `InvalidQuote` unless the platform vouches for it."""
