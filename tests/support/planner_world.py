"""Drive `plan` over a `FakeCluster`, step by step, the way the loop does it."""

from dataclasses import replace

from controlplane.reconcile.model import (
    ActivateOperator,
    Decision,
    Desired,
    DiscardNode,
    Done,
    Failed,
    ForgetNode,
    InstallSampleApp,
    LaunchNode,
    NodeStatus,
    Observed,
    ObservedNode,
    OpenService,
    RemoveLeftovers,
    RetireNode,
    Route,
    TrustNode,
    Wait,
)
from controlplane.reconcile.plan import plan
from tests.support.fake_cluster import FakeCluster

ZONES = ("zone-1", "zone-2", "zone-3")


class PlannerWorld:
    """One instance: desired state, the loop's memory, and the cluster."""

    def __init__(self, node_count: int = 3, *, sample_app: bool = False) -> None:
        self.cluster = FakeCluster()
        self.desired = Desired("bank", node_count, ZONES, since_s=self.cluster.now_s, sample_app=sample_app)
        self.next_ordinal = 0
        self.failed_launches = 0
        self.last_launch_s = 0.0
        self.joined: set[str] = set()
        self.routed: set[str] = set()
        self.leftovers = False
        self.decisions: list[Decision] = []

    def observe(self) -> Observed:
        view = self.cluster.view()
        answering = view.answering if view else frozenset()
        trusted = {r.node_id for r in view.service.nodes if r.status is NodeStatus.TRUSTED} if view else set()
        seen = self.cluster.backend_nodes()
        self.routed &= {n.name for n in seen if n.running}  # the loop's record of a look does the same
        newcomers = {n.name for n in seen if n.node_id in trusted} - self.joined
        if newcomers:
            self.joined |= newcomers
            self.failed_launches = 0
        self.next_ordinal = max([self.next_ordinal, *(n.ordinal + 1 for n in seen)])
        nodes = tuple(
            ObservedNode(
                n.name,
                n.ordinal,
                n.zone,
                n.mode,
                n.launched_at_s,
                n.running,
                n.node_id,
                n.rpc_address,
                joined=n.name in self.joined,
                answers=n.name in answering,
                routed=n.name in self.routed and n.running,
            )
            for n in seen
        )
        return Observed(
            nodes,
            self.next_ordinal,
            view.service if view else None,
            self.failed_launches,
            self.last_launch_s,
            leftovers=self.leftovers,
        )

    def turn(self) -> Decision:
        """Look, decide, and carry the decision out."""
        decision = plan(self.desired, self.observe(), self.cluster.now_s)
        self.decisions.append(decision)
        self.perform(decision)
        return decision

    def perform(self, decision: Decision) -> None:
        cluster = self.cluster
        match decision:
            case LaunchNode():
                cluster.launch(decision.name, decision.ordinal, decision.zone, decision.mode)
                self.last_launch_s, self.leftovers = cluster.now_s, True
            case DiscardNode():
                cluster.discard(decision.name)
                self.failed_launches += decision.failed
            case Route():
                self.routed = set(decision.names)
            case RemoveLeftovers():
                self.leftovers = False
            case ActivateOperator():
                cluster.activate_operator()
            case TrustNode():
                cluster.admit(decision.node_id, decision.retire)
            case RetireNode():
                cluster.retire(decision.node_id)
            case ForgetNode():
                cluster.forget(decision.node_id)
            case InstallSampleApp():
                self.cluster.install_sample_app()
            case OpenService():
                cluster.open_service()
            case Done() if not self.desired.deleting:
                self.desired = replace(self.desired, established=True)
                cluster.guarded = True

    def converge(self, turns: int = 400) -> Decision:
        """Turns until nothing is left to do. Fails with the last decisions when that takes too long."""
        for _ in range(turns):
            decision = self.turn()
            if isinstance(decision, Done | Failed):
                return decision
            if isinstance(decision, Wait):
                self.cluster.tick()
        raise AssertionError(f"no end after {turns} turns: {self.decisions[-8:]}")

    def create(self, *, is_open: bool = False) -> None:
        """An instance that succeeded, open or waiting for its member."""
        assert isinstance(self.converge(), Done)
        if is_open:
            assert self.cluster.service is not None
            self.cluster.service.members["m0"] = True
            assert isinstance(self.converge(), Done)

    def kinds(self) -> list[str]:
        """The decisions so far by name, repetitions folded."""
        names = [type(d).__name__ for d in self.decisions]
        return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
