"""What the planner reads and what it answers: plain values, no behaviour beyond arithmetic.

Times are seconds since the epoch. Nodes are known by name to the backend and by node id to the service; an observed
node carries both once its certificate exists.
"""

from dataclasses import dataclass
from enum import StrEnum


class LaunchMode(StrEnum):
    """How a node begins (drop-in.md 3.3). Recovery is a third way, not offered yet."""

    START = "Start"
    JOIN = "Join"


class NodeStatus(StrEnum):
    """A node's status in the service's own records (node-api.md 2.2)."""

    PENDING = "Pending"
    TRUSTED = "Trusted"
    RETIRED = "Retired"


class ServiceStatus(StrEnum):
    """node-api.md 8.1."""

    OPENING = "Opening"
    OPEN = "Open"
    WAITING_FOR_RECOVERY_SHARES = "WaitingForRecoveryShares"
    RECOVERING = "Recovering"


@dataclass(frozen=True, slots=True)
class Desired:
    """What an instance should be. `since_s` is when this was asked for: the creation deadline counts from there."""

    instance: str
    node_count: int
    zones: tuple[str, ...]
    since_s: float
    established: bool = False
    """It succeeded once, so its ledger may hold a customer's data: starting over is no longer allowed."""
    deleting: bool = False
    sample_app: bool = False
    """A new service starts with the sample application (decisions 5)."""


@dataclass(frozen=True, slots=True)
class ObservedNode:
    """One node as the backend knows it."""

    name: str
    ordinal: int
    zone: str
    mode: LaunchMode
    launched_at_s: float
    running: bool
    node_id: str | None = None
    rpc_address: str | None = None
    joined: bool = False
    """The service trusted it at least once."""
    answers: bool = False
    """It serves requests as a part of the network, under a certificate the service endorses."""
    routed: bool = False
    """The gateway sends clients to it."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node as the service knows it; `removable` means that its retirement is committed (node-api.md 6.5)."""

    node_id: str
    status: NodeStatus
    removable: bool = False
    primary: bool = False


@dataclass(frozen=True, slots=True)
class ObservedService:
    """The service as one of its nodes describes it."""

    status: ServiceStatus
    nodes: tuple[NodeRecord, ...]
    governance_ready: bool = True
    operator_active: bool = True
    can_open: bool = False
    """Enough of the customer's members are active (node-api.md 4.2)."""
    has_app: bool = True
    """An application is installed; looked at only while the service is opening."""
    waiting_for: tuple[str, ...] = ()
    """Ids of members that have not activated yet, while the service is opening."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What is. `service` is None while no node answers for it."""

    nodes: tuple[ObservedNode, ...]
    next_ordinal: int
    service: ObservedService | None = None
    failed_launches: int = 0
    """Launches that never became part of the service, since the last one that did or since `Desired.since_s`."""
    last_launch_s: float = 0.0
    gateway_listens: bool = True
    leftovers: bool = False
    """The backend or the operator still holds something for the instance; a delete is not over before that is gone."""


@dataclass(frozen=True, slots=True)
class LaunchNode:
    """Start a node process; `target` is the node to join through."""

    name: str
    ordinal: int
    zone: str
    mode: LaunchMode
    target: str | None = None


@dataclass(frozen=True, slots=True)
class ActivateOperator:
    """Acknowledge the operator's own membership, so that it may propose."""


@dataclass(frozen=True, slots=True)
class TrustNode:
    """Admit a pending node, and in the same proposal retire dead ones: one reconfiguration instead of two."""

    node_id: str
    retire: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetireNode:
    """Remove a node from the service through governance; a pending node's record just disappears."""

    node_id: str


@dataclass(frozen=True, slots=True)
class ForgetNode:
    """Delete the record of a node whose retirement is committed."""

    node_id: str


@dataclass(frozen=True, slots=True)
class DiscardNode:
    """Stop the process, if it runs, and remove what it kept. `failed` marks a launch that came to nothing."""

    name: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Route:
    """Send clients to these nodes, by name, and to no others."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InstallSampleApp:
    """Propose the sample application, which the operator may do alone while the service is opening."""


@dataclass(frozen=True, slots=True)
class OpenService:
    """Propose `transition_service_to_open`."""


@dataclass(frozen=True, slots=True)
class RemoveLeftovers:
    """Remove what an instance without nodes still occupies: directories and the operator's key."""


Step = (
    LaunchNode
    | ActivateOperator
    | TrustNode
    | RetireNode
    | ForgetNode
    | DiscardNode
    | Route
    | InstallSampleApp
    | OpenService
    | RemoveLeftovers
)


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do yet; look again soon."""

    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """What is, is what should be. The service may still wait for members to activate, which is theirs to do."""

    waiting_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """No step can help. `code` is the operation's error code (control-plane.md 3.2)."""

    code: str
    message: str
    target: str | None = None


Decision = Step | Wait | Done | Failed


def quorum(voters: int) -> int:
    """The smallest majority of `voters` nodes."""
    return voters // 2 + 1
