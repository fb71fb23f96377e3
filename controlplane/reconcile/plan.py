"""plan(desired, observed, now) -> Step | Wait | Done | Failed. Pure, and the only place that decides anything.

The rules are tried in order; the first that has something to say wins, and the loop looks again after each step. So
creation, replacement of a dead node, opening and tear-down are one function with other inputs (architecture 5.5).

Two facts about quorums shape the rules:

- Removing a *dead* voter never makes things worse: as many nodes live and no more are needed. Removing a *living* one
  is only done when more live than are wanted.
- Admitting a voter that then dies costs a vote. So on an open service a replacement is admitted and the dead node
  retired by one proposal, one reconfiguration. A service that is still opening trusts joiners on arrival
  (node-api.md 6.4); there the dead node goes first.
"""

from collections.abc import Callable, Sequence

from controlplane.reconcile.health import Situation, first_node, is_lost, is_stuck
from controlplane.reconcile.model import (
    ActivateOperator,
    Decision,
    Desired,
    DiscardNode,
    Done,
    Failed,
    ForgetNode,
    InstallSampleApp,
    LaunchMode,
    LaunchNode,
    Observed,
    ObservedNode,
    ObservedService,
    OpenService,
    RemoveLeftovers,
    RetireNode,
    Route,
    ServiceStatus,
    TrustNode,
    Wait,
)
from controlplane.reconcile.placement import choose_surplus, choose_zone

CREATION_TIMEOUT_S = 300.0
MAX_FAILED_LAUNCHES = 2
"""How many launches of a new instance may come to nothing, beyond one for each node wanted."""
MAX_BACKOFF_S = 60.0


def plan(desired: Desired, observed: Observed, now_s: float) -> Decision:
    """The next thing to do for one instance, as seen at `now_s` (seconds since the epoch)."""
    if desired.deleting:
        return _tear_down(observed)
    if not desired.established and (failure := _give_up(desired, observed, now_s)):
        return failure
    if observed.service is None:
        return _without_service(desired, observed, now_s)
    situation = Situation(observed, observed.service, now_s)
    if situation.quorum_lost:
        return _quorum_lost() if desired.established else _start_over(observed)
    for rule in _RULES:
        if (decision := rule(desired, situation)) is not None:
            return decision
    return Done(observed.service.waiting_for)


def percent_complete(desired: Desired, observed: Observed) -> int:
    """How far a creation is, 0 to 99: launched, answering, routed, each node a share."""
    per_node = 90 // max(1, desired.node_count)
    useful = sorted(observed.nodes, key=_progress, reverse=True)[: desired.node_count]
    return min(99, 5 * (observed.service is not None) + sum(per_node * _progress(node) // 3 for node in useful))


def backoff_s(failed_launches: int) -> float:
    """Pause before the next launch; none after a success, doubling with each launch that came to nothing."""
    return 0.0 if failed_launches == 0 else min(MAX_BACKOFF_S, 2.0 ** (failed_launches - 1))


def node_name(instance: str, ordinal: int) -> str:
    """Derived, so that a step that is repeated finds its work done."""
    return f"{instance}-{ordinal}"


def _tear_down(observed: Observed) -> Decision:
    if any(node.routed for node in observed.nodes):
        return Route(())
    if observed.nodes:
        return DiscardNode(observed.nodes[0].name, failed=False)
    return RemoveLeftovers() if observed.leftovers else Done()


def _give_up(desired: Desired, observed: Observed, now_s: float) -> Failed | None:
    if observed.failed_launches > desired.node_count + MAX_FAILED_LAUNCHES:
        return Failed("NodeStartFailed", f"{observed.failed_launches} nodes did not start.", "properties.nodeCount")
    if now_s - desired.since_s > CREATION_TIMEOUT_S:
        return Failed("CreationTimeout", f"The instance was not ready within {CREATION_TIMEOUT_S:.0f} s.")
    return None


def _without_service(desired: Desired, observed: Observed, now_s: float) -> Decision:
    """No node speaks for the service: it does not exist yet, or everyone who could speak is gone or busy."""
    if desired.established:
        return _quorum_lost() if is_lost(observed) else Wait("no node answers")
    first = first_node(observed)
    if first is not None and first.running and not is_stuck(first, now_s):
        return Wait(f"{first.name} is starting")
    if observed.nodes:
        return _start_over(observed)
    return _launch(desired, observed, LaunchMode.START, None)


def _start_over(observed: Observed) -> DiscardNode:
    """A new instance whose first steps failed holds nothing worth keeping: clear it away, then begin again."""
    return DiscardNode(observed.nodes[0].name, failed=True)


def _quorum_lost() -> Failed:
    return Failed("QuorumLost", "Too few nodes are left to commit anything; the service needs a recovery.")


def _await_governance(_desired: Desired, situation: Situation) -> Decision | None:
    return None if situation.service.governance_ready else Wait("governance is not ready")


def _activate_operator(_desired: Desired, situation: Situation) -> Decision | None:
    return None if situation.service.operator_active else ActivateOperator()


def _route(_desired: Desired, situation: Situation) -> Decision | None:
    names = _routable(situation)
    routed = tuple(sorted(node.name for node in situation.observed.nodes if node.routed))
    return Route(names) if names and names != routed else None


def _retire_dead_while_opening(_desired: Desired, situation: Situation) -> Decision | None:
    if situation.dead and _trusts_on_arrival(situation.service):
        return RetireNode(situation.dead[0].node_id)
    return None


def _retire_stale_pending(_desired: Desired, situation: Situation) -> Decision | None:
    return RetireNode(situation.stale_pending[0].node_id) if situation.stale_pending else None


def _clear_useless(_desired: Desired, situation: Situation) -> Decision | None:
    if not situation.useless:
        return None
    node = situation.useless[0]
    return DiscardNode(node.name, failed=not node.joined)


def _clear_retired(_desired: Desired, situation: Situation) -> Decision | None:
    """Stop first, then delete the record (node-api.md 6.5): the record is what reminds us of the process."""
    for record in situation.retired:
        if record.removable:
            node = situation.node_of(record)
            return DiscardNode(node.name, failed=False) if node else ForgetNode(record.node_id)
    return None


def _admit(desired: Desired, situation: Situation) -> Decision | None:
    if not situation.pending:
        return None
    joiner = situation.pending[0]
    assert joiner.node_id is not None, "a pending node was matched by its node id"
    if len(situation.live) >= desired.node_count:
        return RetireNode(joiner.node_id)
    dead = tuple(record.node_id for record in situation.dead)
    return TrustNode(joiner.node_id, dead)


def _launch_missing(desired: Desired, situation: Situation) -> Decision | None:
    if len(situation.live) + len(situation.joining) >= desired.node_count:
        return None
    targets = [node for node in situation.live if node.answers and node.rpc_address]
    if not targets:
        return Wait("no node can be joined yet")
    observed = situation.observed
    pause_s = observed.last_launch_s + backoff_s(observed.failed_launches) - situation.now_s
    if pause_s > 0:
        return Wait(f"the next launch is due in {pause_s:.0f} s")
    target = max(targets, key=lambda node: (_is_primary(situation, node), -node.ordinal))
    return _launch(desired, observed, LaunchMode.JOIN, target.rpc_address)


def _retire_dead(desired: Desired, situation: Situation) -> Decision | None:
    """Dead voters that no replacement will take along: enough nodes live already."""
    if situation.dead and len(situation.live) >= desired.node_count:
        return RetireNode(situation.dead[0].node_id)
    return None


def _retire_surplus(desired: Desired, situation: Situation) -> Decision | None:
    live = situation.live
    if len(live) <= desired.node_count or situation.dead or not all(node.answers for node in live):
        return None
    candidates = [(n.name, n.zone, n.ordinal) for n in live if not _is_primary(situation, n)]
    name = choose_surplus(desired.zones, candidates or [(n.name, n.zone, n.ordinal) for n in live])
    node_id = next(node.node_id for node in live if node.name == name)
    assert node_id is not None, "a live node was matched by its node id"
    return RetireNode(node_id)


def _install_sample(desired: Desired, situation: Situation) -> Decision | None:
    service = situation.service
    wanted = desired.sample_app and service.status is ServiceStatus.OPENING and not service.has_app
    return InstallSampleApp() if wanted else None


def _open(desired: Desired, situation: Situation) -> Decision | None:
    service = situation.service
    ready = service.status is ServiceStatus.OPENING and service.can_open
    return OpenService() if ready and len(situation.live) >= desired.node_count else None


def _await_rest(desired: Desired, situation: Situation) -> Decision | None:
    if situation.joining:
        return Wait(f"{situation.joining[0].name} is joining")
    if situation.retired:
        return Wait("a node is retiring")
    silent = [node for node in situation.live if not node.answers]
    if silent:
        return Wait(f"{silent[0].name} does not answer yet")
    return None if situation.observed.gateway_listens else Wait("the gateway does not listen yet")


_RULES: Sequence[Callable[[Desired, Situation], Decision | None]] = (
    _await_governance,
    _activate_operator,
    _route,
    _retire_dead_while_opening,
    _retire_stale_pending,
    _clear_useless,
    _admit,
    _launch_missing,
    _retire_dead,
    _clear_retired,
    _retire_surplus,
    _install_sample,
    _open,
    _await_rest,
)


def _launch(desired: Desired, observed: Observed, mode: LaunchMode, target: str | None) -> LaunchNode:
    ordinal = observed.next_ordinal
    zone = choose_zone(desired.zones, [node.zone for node in observed.nodes if node.running])
    return LaunchNode(node_name(desired.instance, ordinal), ordinal, zone, mode, target)


def _routable(situation: Situation) -> tuple[str, ...]:
    return tuple(sorted(node.name for node in situation.live if node.answers and node.rpc_address))


def _is_primary(situation: Situation, node: ObservedNode) -> bool:
    record = situation.record_of(node)
    return record is not None and record.primary


def _trusts_on_arrival(service: ObservedService) -> bool:
    return service.status in (ServiceStatus.OPENING, ServiceStatus.RECOVERING)


def _progress(node: ObservedNode) -> int:
    return node.running * (1 + node.answers + node.routed)
