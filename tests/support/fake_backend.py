"""A backend and an operator over a `FakeCluster`, so that the loop runs with a database and nothing else.

`FakeBackend` keeps the promises of `Backend` itself and is held to them by `tests/backends`. A fault is armed by name
and comes in two forms: the call failed, or it took effect and then failed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.backends.backend import BackendNode, NodeSpec, StartSpec
from controlplane.ccf_operator.service import ServiceView
from controlplane.reconcile.model import LaunchMode
from tests.support.fake_cluster import CERTIFICATE, FakeCluster


class WorkerDied(BaseException):
    """Not an `Exception`: nothing in the code under test may catch the end of its own process."""


@dataclass
class Faults:
    """What goes wrong, once each: name of a call -> (error, whether the call takes effect first)."""

    armed: dict[str, tuple[BaseException, bool]] = field(default_factory=dict)
    fired: list[str] = field(default_factory=list)

    def arm(self, call: str, error: BaseException, *, after: bool) -> None:
        self.armed[call] = (error, after)

    def before(self, call: str) -> None:
        if call in self.armed and not self.armed[call][1]:
            self._fire(call)

    def after(self, call: str) -> None:
        if call in self.armed and self.armed[call][1]:
            self._fire(call)

    def _fire(self, call: str) -> None:
        error, _ = self.armed.pop(call)
        self.fired.append(call)
        raise error


class FakeBackend:
    """Any number of instances, one `FakeCluster` each."""

    def __init__(self, faults: Faults | None = None, clock: Callable[[], float] = lambda: 1_000.0) -> None:
        self.clusters: dict[str, FakeCluster] = {}
        self._clock = clock
        self.faults = faults or Faults()

    def cluster(self, instance_id: str) -> FakeCluster:
        if instance_id not in self.clusters:
            self.clusters[instance_id] = FakeCluster(self._clock())
        return self.clusters[instance_id]

    def launch(self, spec: NodeSpec) -> None:
        self.faults.before("launch")
        mode = LaunchMode.START if isinstance(spec.command, StartSpec) else LaunchMode.JOIN
        self.cluster(spec.instance_id).launch(spec.name, spec.ordinal, spec.zone, mode)
        self.faults.after("launch")

    def observe(self, instance_id: str) -> Sequence[BackendNode]:
        return self.clusters[instance_id].backend_nodes() if instance_id in self.clusters else []

    def discard(self, instance_id: str, name: str) -> None:
        self.faults.before("discard")
        if instance_id in self.clusters:
            self.clusters[instance_id].discard(name)
        self.faults.after("discard")

    def holds(self, instance_id: str) -> bool:
        return instance_id in self.clusters

    def remove_instance(self, instance_id: str) -> None:
        self.faults.before("remove_instance")
        self.clusters.pop(instance_id, None)
        self.faults.after("remove_instance")

    def fail(self, instance_id: str, name: str) -> None:
        """The process of a node ends, for whatever reason (for the suite of promises)."""
        self.cluster(instance_id).kill(name)


class FakeOperator:
    """The operator of one `FakeCluster`."""

    def __init__(self, cluster: FakeCluster, faults: Faults) -> None:
        self.certificate = CERTIFICATE
        self._cluster, self._faults = cluster, faults

    def look(self, addresses: Mapping[str, str]) -> ServiceView | None:
        self._faults.before("look")
        view = self._cluster.view()
        self._faults.after("look")
        return view

    def activate(self) -> None:
        self._faults.before("activate")
        self._cluster.activate_operator()
        self._faults.after("activate")

    def admit(self, node_id: str, retire: Sequence[str]) -> None:
        self._faults.before("admit")
        self._cluster.admit(node_id, retire)
        self._faults.after("admit")

    def retire(self, node_id: str) -> None:
        self._faults.before("retire")
        self._cluster.retire(node_id)
        self._faults.after("retire")

    def forget(self, node_id: str) -> None:
        self._faults.before("forget")
        self._cluster.forget(node_id)
        self._faults.after("forget")

    def install_sample_app(self) -> None:
        self._faults.before("install_sample_app")
        self._cluster.install_sample_app()
        self._faults.after("install_sample_app")

    def open_service(self) -> None:
        self._faults.before("open_service")
        self._cluster.open_service()
        self._faults.after("open_service")

    def close(self) -> None:
        return None
