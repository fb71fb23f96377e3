"""The planner's plays, each told as the list of its decisions, and its single rules."""

from dataclasses import replace

import pytest

from controlplane.reconcile.model import (
    Desired,
    DiscardNode,
    Done,
    Failed,
    LaunchMode,
    LaunchNode,
    NodeRecord,
    NodeStatus,
    Observed,
    ObservedNode,
    ObservedService,
    RetireNode,
    Route,
    ServiceStatus,
    TrustNode,
    Wait,
)
from controlplane.reconcile.plan import CREATION_TIMEOUT_S, backoff_s, percent_complete, plan
from tests.support.planner_world import ZONES, PlannerWorld


def test_creation_starts_one_node_then_joins_the_others_in_other_zones_at_once() -> None:
    world = PlannerWorld()
    assert world.converge() == Done(waiting_for=("m0",))
    launches = [d for d in world.decisions if isinstance(d, LaunchNode)]
    assert [(d.name, d.zone, d.mode.value) for d in launches] == [
        ("bank-0", "zone-1", "Start"),
        ("bank-1", "zone-2", "Join"),
        ("bank-2", "zone-3", "Join"),
    ]
    assert launches[1].target == launches[2].target == "127.0.0.1:10000"
    assert world.kinds() == ["LaunchNode", "Wait", "ActivateOperator", "Route", "LaunchNode", "Wait", "Route", "Done"]
    between = world.decisions[world.decisions.index(launches[1]) + 1]
    assert between == launches[2], "the second joiner does not wait for the first"


def test_service_opens_once_a_member_is_active() -> None:
    world = PlannerWorld()
    world.create()
    assert isinstance(world.turn(), Done)
    assert world.cluster.service is not None
    world.cluster.service.members["m0"] = True
    world.decisions.clear()
    assert world.converge() == Done()
    assert world.kinds() == ["OpenService", "Done"]
    assert world.cluster.service.status is ServiceStatus.OPEN


def test_the_sample_is_installed_once_before_the_service_opens() -> None:
    world = PlannerWorld(sample_app=True)
    world.create(is_open=True)
    kinds = world.kinds()
    assert kinds.count("InstallSampleApp") == 1
    assert kinds.index("InstallSampleApp") < kinds.index("OpenService")


def test_an_app_the_members_installed_stays() -> None:
    world = PlannerWorld(sample_app=True)
    while world.cluster.service is None:
        if isinstance(world.turn(), Wait):
            world.cluster.tick()
    world.cluster.service.has_app = True
    world.create(is_open=True)
    assert "InstallSampleApp" not in world.kinds()


def test_a_dead_node_of_an_open_service_is_replaced_by_one_reconfiguration() -> None:
    world = PlannerWorld()
    world.create(is_open=True)
    world.cluster.kill("bank-0")
    world.decisions.clear()
    assert world.converge() == Done()
    assert world.kinds() == [
        "LaunchNode", "Wait", "TrustNode", "Wait", "Route", "DiscardNode", "ForgetNode", "Done",
    ]  # fmt: skip
    assert TrustNode("id-bank-3", retire=("id-bank-0",)) in world.decisions
    assert world.routed == {"bank-1", "bank-2", "bank-3"}
    assert world.cluster.nodes["bank-3"].zone == "zone-1", "the zone that lost its node gets the new one"
    assert set(world.cluster.nodes) == {"bank-1", "bank-2", "bank-3"}


def test_while_opening_the_dead_node_goes_first_because_joiners_are_trusted_on_arrival() -> None:
    world = PlannerWorld()
    world.create()
    world.cluster.kill("bank-2")
    world.decisions.clear()
    assert world.converge() == Done(waiting_for=("m0",))
    kinds = world.kinds()
    assert kinds.index("RetireNode") < kinds.index("LaunchNode")
    assert "TrustNode" not in kinds


def test_clients_are_led_away_from_a_node_that_does_not_answer_and_it_keeps_its_vote() -> None:
    world = PlannerWorld()
    world.create(is_open=True)
    world.cluster.nodes["bank-1"].serves = False
    assert world.turn() == Route(("bank-0", "bank-2"))
    assert isinstance(world.turn(), Wait)


def test_a_new_instance_that_loses_its_quorum_starts_over_with_new_names() -> None:
    world = PlannerWorld()
    while "bank-1" not in world.joined:
        if isinstance(world.turn(), Wait):
            world.cluster.tick()
    world.cluster.kill("bank-0")
    world.cluster.kill("bank-1")
    assert isinstance(world.converge(), Done)
    assert {n.ordinal for n in world.cluster.nodes.values()}.isdisjoint({0, 1, 2})
    assert len([n for n in world.cluster.nodes.values() if n.mode is LaunchMode.START]) == 1


def test_an_established_instance_without_quorum_is_never_started_over() -> None:
    world = PlannerWorld()
    world.create(is_open=True)
    before = dict(world.cluster.nodes)
    world.cluster.kill("bank-0")
    world.cluster.kill("bank-1")
    decision = world.converge()
    assert isinstance(decision, Failed)
    assert decision.code == "QuorumLost"
    assert world.cluster.nodes == before


def test_an_established_instance_whose_nodes_are_all_gone_is_lost() -> None:
    world = PlannerWorld()
    world.create(is_open=True)
    for name in list(world.cluster.nodes):
        world.cluster.kill(name)
    assert isinstance(decision := world.turn(), Failed)
    assert decision.code == "QuorumLost"


def test_an_established_instance_that_nobody_hears_is_waited_for() -> None:
    world = PlannerWorld()
    world.create(is_open=True)
    for node in world.cluster.nodes.values():
        node.serves = False
    assert isinstance(world.turn(), Wait)


def test_nodes_that_do_not_start_fail_the_creation_after_a_few_attempts() -> None:
    world = PlannerWorld()
    world.cluster.dies_at_start = 100
    decision = world.converge()
    assert isinstance(decision, Failed)
    assert decision.code == "NodeStartFailed"
    assert 3 <= len(world.cluster.launches) <= 8


def test_a_creation_that_takes_too_long_fails() -> None:
    world = PlannerWorld()
    world.turn()
    world.cluster.now_s += CREATION_TIMEOUT_S + 1
    assert isinstance(decision := world.turn(), Failed)
    assert decision.code == "CreationTimeout"


def test_failing_replacements_are_launched_ever_more_slowly() -> None:
    world = PlannerWorld()
    world.create(is_open=True)
    world.cluster.dies_at_start = 4
    world.cluster.kill("bank-2")
    began_s = world.cluster.now_s
    assert world.converge() == Done()
    assert len(world.cluster.launches) == 3 + 4 + 1
    assert world.cluster.now_s - began_s >= sum(backoff_s(n) for n in range(1, 5))
    assert world.failed_launches == 0, "a success forgives"


def test_a_stuck_joiner_is_given_up() -> None:
    world = PlannerWorld()
    world.create(is_open=True)
    world.cluster.kill("bank-2")
    while not any(isinstance(d, LaunchNode) and d.ordinal == 3 for d in world.decisions):
        world.turn()
    world.cluster.now_s += 61
    assert isinstance(world.turn(), DiscardNode)


def test_delete_takes_everything_away_and_is_done_then() -> None:
    world = PlannerWorld()
    world.create(is_open=True)
    world.desired = replace(world.desired, deleting=True)
    world.cluster.guarded = False
    world.decisions.clear()
    assert world.converge() == Done()
    assert world.kinds() == ["Route", "DiscardNode", "RemoveLeftovers", "Done"]
    assert not world.cluster.nodes


def test_scaling_down_gives_up_a_backup_of_the_fullest_zone() -> None:
    world = PlannerWorld(node_count=5)
    world.create(is_open=True)
    world.desired = replace(world.desired, node_count=3)
    world.decisions.clear()
    assert world.converge() == Done()
    retired = [d.node_id for d in world.decisions if isinstance(d, RetireNode)]
    assert retired == ["id-bank-4", "id-bank-3"]
    assert set(world.cluster.nodes) == {"bank-0", "bank-1", "bank-2"}


def test_scaling_up_adds_nodes() -> None:
    world = PlannerWorld()
    world.create(is_open=True)
    world.desired = replace(world.desired, node_count=5)
    assert world.converge() == Done()
    assert len(world.cluster.voters()) == 5


def test_a_node_removed_by_the_members_is_cleared_away_and_replaced() -> None:
    world = PlannerWorld()
    world.create(is_open=True)
    world.cluster.retire("id-bank-1")
    assert world.converge() == Done()
    assert "bank-1" not in world.cluster.nodes
    assert len(world.cluster.voters()) == 3


def test_a_pending_node_too_many_is_sent_away() -> None:
    world = PlannerWorld()
    world.create(is_open=True)
    world.cluster.launch("bank-3", 3, "zone-1", LaunchMode.JOIN)
    world.cluster.tick()
    world.cluster.tick()
    assert world.turn() == RetireNode("id-bank-3")


@pytest.mark.parametrize(("failed", "expected"), [(0, 0.0), (1, 1.0), (2, 2.0), (4, 8.0), (50, 60.0)])
def test_backoff(failed: int, expected: float) -> None:
    assert backoff_s(failed) == expected


def test_percent_grows_and_stays_below_a_hundred() -> None:
    world = PlannerWorld()
    shown = [0]
    while not isinstance(decision := world.turn(), Done):
        shown.append(percent_complete(world.desired, world.observe()))
        if isinstance(decision, Wait):
            world.cluster.tick()
    assert shown == sorted(shown)
    assert 60 < shown[-1] < 100


def test_an_unclaimed_record_is_not_dead_while_a_process_may_be_its_own() -> None:
    """A node whose certificate cannot be read for a moment must not lose its vote."""
    service = ObservedService(ServiceStatus.OPEN, tuple(NodeRecord(f"id-{i}", NodeStatus.TRUSTED) for i in range(3)))
    nodes = tuple(
        ObservedNode(
            f"bank-{i}", i, f"zone-{i + 1}", LaunchMode.JOIN, 0.0, running=True,
            node_id=None if i == 2 else f"id-{i}", rpc_address=f"127.0.0.1:{i + 1}", joined=True, answers=i != 2,
            routed=i != 2,
        )
        for i in range(3)
    )  # fmt: skip
    desired = Desired("bank", 3, ZONES, 0.0, established=True)
    decision = plan(desired, Observed(nodes, 3, service), 10.0)
    assert not isinstance(decision, RetireNode | DiscardNode | TrustNode)
