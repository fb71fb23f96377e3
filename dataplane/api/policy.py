"""What every authentication policy works with: who is at the other end, and how a policy says no (node-api.md 3)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dataplane.apps.endpoint import Identity, Request
from dataplane.kv.tx import Tx

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Peer:
    """The client at the other end of the session: its certificate's DER and hex SHA-256, None without one."""

    certificate_der: bytes | None = None
    id: str | None = None


Run = Callable[[Tx, Request, Peer, Clock], Identity]
"""Names the caller, or raises `NotMet`."""


@dataclass(frozen=True, slots=True)
class Check:
    """One policy. `challenge` is the `www-authenticate` value it answers a refusal with, None where it has none."""

    name: str
    run: Run
    challenge: str | None = None


class NotMet(Exception):
    """Why a policy was not met. `challenge`: of the part of a combined policy that failed."""

    def __init__(self, reason: str, challenge: str | None = None) -> None:
        super().__init__(reason)
        self.challenge = challenge
