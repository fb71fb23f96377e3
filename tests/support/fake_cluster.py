"""A small world for the planner: node processes, one service and its quorums, without any process or network.

It asserts: a step that leaves the service unable to commit, or that makes it depend on a node nobody has seen working,
fails the test at once. Time passes only in `tick`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from controlplane.backends.backend import BackendNode
from controlplane.ccf_operator.service import ServiceUnavailable, ServiceView
from controlplane.reconcile.model import (
    LaunchMode,
    NodeRecord,
    NodeStatus,
    ObservedService,
    ServiceStatus,
    quorum,
)

CERTIFICATE = "the service certificate"


@dataclass
class FakeNode:
    name: str
    ordinal: int
    zone: str
    mode: LaunchMode
    launched_at_s: float
    running: bool = True
    node_id: str | None = None
    serves: bool = False

    @property
    def address(self) -> str | None:
        return f"127.0.0.1:{10_000 + self.ordinal}" if self.node_id else None


@dataclass
class FakeService:
    status: ServiceStatus = ServiceStatus.OPENING
    records: dict[str, NodeStatus] = field(default_factory=dict)
    removable: set[str] = field(default_factory=set)
    configurations: list[frozenset[str]] = field(default_factory=list)
    """Active configurations: the committed one, then those that are not committed yet."""
    operator_active: bool = False
    has_app: bool = False
    members: dict[str, bool] = field(default_factory=lambda: {"m0": False})


class FakeCluster:
    """The nodes and the service of one instance. `dies_at_start` makes the next launches come to nothing."""

    def __init__(self, now_s: float = 1_000.0) -> None:
        self.now_s = now_s
        self.nodes: dict[str, FakeNode] = {}
        self.service: FakeService | None = None
        self.dies_at_start = 0
        self.guarded = False
        """From now on the ledger holds data: every step must keep the service able to commit."""
        self.launches: list[str] = []

    # What the backend does.

    def launch(self, name: str, ordinal: int, zone: str, mode: LaunchMode) -> None:
        if name in self.nodes:
            return
        node = FakeNode(name, ordinal, zone, mode, self.now_s)
        if self.dies_at_start:
            self.dies_at_start -= 1
            node.running = False
        self.nodes[name] = node
        self.launches.append(name)

    def discard(self, name: str) -> None:
        node = self.nodes.get(name)
        if node is None:
            return
        before = self.can_commit()
        node.running = node.serves = False
        self._assert_kept(before, f"discarding {name}")
        del self.nodes[name]

    def kill(self, name: str) -> None:
        self.nodes[name].running = self.nodes[name].serves = False

    def backend_nodes(self) -> Sequence[BackendNode]:
        return [
            BackendNode(
                n.name,
                n.ordinal,
                n.zone,
                n.mode,
                n.launched_at_s,
                n.running,
                n.node_id,
                n.address,
                service_certificate=CERTIFICATE if n.mode is LaunchMode.START and n.node_id else None,
            )
            for n in sorted(self.nodes.values(), key=lambda n: n.ordinal)
        ]

    # What the service does.

    def view(self) -> ServiceView | None:
        answering = frozenset(n.name for n in self.nodes.values() if n.running and n.serves)
        if self.service is None or not answering:
            return None
        s = self.service
        primary = self._primary_id()
        records = tuple(
            NodeRecord(node_id, status, node_id in s.removable, node_id == primary)
            for node_id, status in sorted(s.records.items())
        )
        opening = s.status is ServiceStatus.OPENING
        can_open = opening and any(s.members.values())
        waiting = tuple(sorted(m for m, active in s.members.items() if not active)) if opening and not can_open else ()
        observed = ObservedService(
            s.status, records, True, s.operator_active, can_open, has_app=s.has_app, waiting_for=waiting
        )
        return ServiceView(observed, CERTIFICATE, answering)

    def activate_operator(self) -> None:
        self._committing().operator_active = True

    def admit(self, node_id: str, retire: Iterable[str]) -> None:
        service = self._committing()
        assert service.operator_active, "the operator proposes before it is active"
        before = self.can_commit()
        if service.records.get(node_id) is NodeStatus.PENDING:
            service.records[node_id] = NodeStatus.TRUSTED
        for old in retire:
            service.records[old] = NodeStatus.RETIRED
        self._reconfigure()
        self._assert_kept(before, f"admitting {node_id}")
        self._assert_independent_of(node_id)

    def retire(self, node_id: str) -> None:
        service = self._committing()
        assert service.operator_active, "the operator proposes before it is active"
        before = self.can_commit()
        if service.records.get(node_id) is NodeStatus.PENDING:
            del service.records[node_id]
            return
        service.records[node_id] = NodeStatus.RETIRED
        self._reconfigure()
        self._assert_kept(before, f"retiring {node_id}")

    def forget(self, node_id: str) -> None:
        service = self._committing()
        if node_id not in service.removable:
            raise ServiceUnavailable("NodeNotRetiredCommitted")
        del service.records[node_id]
        service.removable.discard(node_id)

    def install_sample_app(self) -> None:
        service = self._committing()
        assert service.operator_active, "the operator proposes before it is active"
        assert service.status is ServiceStatus.OPENING, "a service that is open is its members'"
        service.has_app = True

    def open_service(self) -> None:
        service = self._committing()
        assert any(service.members.values()), "opened before a member could acknowledge it"
        service.status = ServiceStatus.OPEN

    def can_commit(self) -> bool:
        if self.service is None:
            return False
        return all(self._live_in(c) >= quorum(len(c)) for c in self.service.configurations)

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass: nodes start and join, configurations and retirements commit."""
        self.now_s += seconds
        for node in sorted(self.nodes.values(), key=lambda n: n.ordinal):
            if node.running:
                self._start(node) if node.mode is LaunchMode.START else self._join(node)
        if self.can_commit():
            assert self.service is not None
            self.service.configurations = self.service.configurations[-1:]
            retired = {i for i, status in self.service.records.items() if status is NodeStatus.RETIRED}
            self.service.removable |= retired

    def voters(self) -> set[str]:
        assert self.service is not None
        return {i for i, status in self.service.records.items() if status is NodeStatus.TRUSTED}

    def _start(self, node: FakeNode) -> None:
        if node.node_id is None:
            node.node_id, node.serves = f"id-{node.name}", True
            self.service = FakeService(records={node.node_id: NodeStatus.TRUSTED})
            self.service.configurations = [frozenset({node.node_id})]

    def _join(self, node: FakeNode) -> None:
        if node.node_id is None:
            node.node_id = f"id-{node.name}"
            return
        if self.service is None or not self.can_commit() or node.serves:
            return
        opening = self.service.status is ServiceStatus.OPENING
        if node.node_id not in self.service.records:
            self.service.records[node.node_id] = NodeStatus.TRUSTED if opening else NodeStatus.PENDING
            if opening:
                self._reconfigure()
                self._assert_independent_of(node.node_id)
        node.serves = self.service.records[node.node_id] is NodeStatus.TRUSTED

    def _reconfigure(self) -> None:
        assert self.service is not None
        self.service.configurations.append(frozenset(self.voters()))

    def _live_in(self, configuration: frozenset[str], without: str | None = None) -> int:
        return sum(n.running and n.node_id in configuration and n.node_id != without for n in self.nodes.values())

    def _primary_id(self) -> str | None:
        serving = [n for n in self.nodes.values() if n.running and n.serves and n.node_id in self.voters()]
        return min(serving, key=lambda n: n.ordinal).node_id if serving and self.can_commit() else None

    def _committing(self) -> FakeService:
        if self.service is None or not self.can_commit():
            raise ServiceUnavailable("no primary")
        return self.service

    def _assert_kept(self, before: bool, what: str) -> None:
        if self.guarded and before:
            assert self.can_commit(), f"{what} broke the quorum"

    def _assert_independent_of(self, newcomer: str) -> None:
        """Were the newcomer to die at once, the service could still commit; a single old node cannot promise that."""
        assert self.service is not None
        if self.guarded and len(self.service.configurations[0]) > 1:
            for configuration in self.service.configurations:
                alone = self._live_in(configuration, without=newcomer)
                assert alone >= quorum(len(configuration)), f"everything depends on {newcomer}"
