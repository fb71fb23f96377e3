"""What the reconciler may ask of a CCF service, and how that can go wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.reconcile.model import ObservedService


class ServiceUnavailable(Exception):
    """No node could carry it out now, or nobody knows whether it did; look again and repeat."""


class ActionRefused(Exception):
    """The service refused; repeating the same will not help. `code` is CCF's (node-api.md 1.6)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class AwaitingVotes(Exception):
    """Under this service's constitution the operator may not do it alone: members must vote."""

    def __init__(self, proposal_id: str) -> None:
        super().__init__(f"proposal {proposal_id} waits for the members' votes")
        self.proposal_id = proposal_id


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What one look at an instance's nodes found. `answering` are names of nodes that are part of the network."""

    service: ObservedService
    certificate: str
    answering: frozenset[str]


class Operator(Protocol):
    """The operator of one service. Every method but `look` and `close` may raise the errors above."""

    certificate: str
    """The service certificate it trusts (PEM)."""

    def look(self, addresses: Mapping[str, str]) -> ServiceView | None:
        """Ask the nodes at `addresses` (name -> `host:port`); None while none of them answers for the service."""

    def activate(self) -> None:
        """Acknowledge the operator's own membership."""

    def admit(self, node_id: str, retire: Sequence[str]) -> None:
        """Trust a pending node, and retire others in the same reconfiguration."""

    def retire(self, node_id: str) -> None:
        """Remove a node from the service."""

    def forget(self, node_id: str) -> None:
        """Delete the record of a node whose retirement is committed."""

    def install_sample_app(self) -> None:
        """Install the sample application in a service that is opening and has none."""

    def open_service(self) -> None:
        """Open a service that is opening."""

    def close(self) -> None:
        """Let go of connections."""
