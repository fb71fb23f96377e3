"""What a place to run nodes promises. One suite of tests holds every implementation to it (`tests/backends`).

Promises, for all implementations:

1. `launch` is idempotent by name. A name that runs, or ran and died, is left alone: a node never resumes (decisions 6).
2. A launched node outlives the process that launched it; any other process can observe and discard it.
3. `observe` reports every node launched and not discarded, running or dead, and never claims a stranger's process.
4. `discard` ends when the process is gone and nothing of the node is left; discarding twice is not an error.
5. Half a launch, left by a crash, is either completed by the same `launch` or not observed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.reconcile.model import LaunchMode


class BackendError(Exception):
    """The place could not do it; trying again later may help. The message never holds a secret."""


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """One member the service starts with. PEM texts; `data` becomes the member's `member_data`."""

    certificate: str
    encryption_key: str | None
    data: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class StartSpec:
    """What the first node needs: who governs the new service and by which rules (drop-in.md 3.3)."""

    members: tuple[MemberSpec, ...]
    constitution: str
    """The JavaScript text of the constitution."""
    recovery_threshold: int
    service_name: str


@dataclass(frozen=True, slots=True)
class JoinSpec:
    """What any further node needs: a node to join through (`host:port`) and the service certificate to trust (PEM)."""

    target: str
    service_certificate: str


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node to launch. `extra_names` are further subject alternative names for its certificate."""

    instance_id: str
    name: str
    ordinal: int
    zone: str
    command: StartSpec | JoinSpec
    extra_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BackendNode:
    """One node as its place knows it. Addresses are `host:port`; times are seconds since the epoch."""

    name: str
    ordinal: int
    zone: str
    mode: LaunchMode
    launched_at_s: float
    running: bool
    node_id: str | None = None
    rpc_address: str | None = None
    peer_address: str | None = None
    service_certificate: str | None = None
    """What a starting node wrote as its service's certificate (PEM)."""
    last_words: str | None = None
    """The end of a dead node's log."""


class Backend(Protocol):
    """A place to run nodes. Every method may raise `BackendError`."""

    def launch(self, spec: NodeSpec) -> None:
        """Start a node and return without waiting for it to serve."""

    def observe(self, instance_id: str) -> Sequence[BackendNode]:
        """Every node of the instance, by ordinal."""

    def discard(self, instance_id: str, name: str) -> None:
        """Stop a node and remove all it kept."""

    def holds(self, instance_id: str) -> bool:
        """Whether anything of the instance is left here."""

    def remove_instance(self, instance_id: str) -> None:
        """Remove what is left of an instance whose nodes are discarded."""
