"""The loop over a real database, a fake backend and a fake service."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.backends.backend import BackendError
from controlplane.ccf_operator.service import ActionRefused, AwaitingVotes, ServiceUnavailable
from controlplane.reconcile.loop import LOOK_AGAIN_MS, Turn
from controlplane.reconcile.model import NodeStatus, ServiceStatus
from controlplane.store import lease
from controlplane.worker.sweep import find_work
from tests.support.control_plane import ControlPlane, open_control_plane
from tests.support.fake_backend import WorkerDied


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    control_plane = open_control_plane(tmp_path)
    yield control_plane
    control_plane.database.close()


def test_create_succeeds_with_its_addresses_and_names_the_members_it_waits_for(plane: ControlPlane) -> None:
    instance_id = plane.put()
    plane.settle(instance_id)
    row = plane.instance(instance_id)
    assert row.provisioning_state == "Succeeded"
    assert row.running_state == "Active"
    assert row.observed_generation == row.generation == 1
    assert row.app_uri == f"https://127.0.0.1:{row.gateway_port}"
    assert row.identity_service_uri == "https://localhost:8443/ledgerIdentity/bank"
    assert row.service_certificate
    assert (row.service_state, row.waiting_for_members) == ("Opening", ["m0"])
    (operation,) = plane.operations(instance_id)
    assert (operation.status, operation.percent_complete, operation.ended_at) == ("Succeeded", 100, plane.now)
    assert {n.state for n in plane.nodes(instance_id).values()} == {"Running"}
    assert sorted(n.role or "" for n in plane.nodes(instance_id).values()) == ["Backup", "Backup", "Primary"]
    assert row.lease_token is None


def test_progress_is_shown_while_an_operation_runs(plane: ControlPlane) -> None:
    instance_id = plane.put()
    shown: list[int] = []
    sleep = plane.world.sleep
    object.__setattr__(
        plane.world, "sleep", lambda s: (shown.append(plane.operations(instance_id)[0].percent_complete), sleep(s))
    )
    plane.settle(instance_id)
    assert shown == sorted(shown)
    assert any(0 < percent < 100 for percent in shown)


def test_the_service_is_opened_when_its_member_has_activated(plane: ControlPlane) -> None:
    instance_id = plane.created(is_open=False)
    due_at = plane.instance(instance_id).due_at
    assert due_at is not None
    assert due_at - plane.now <= timedelta(seconds=1), "an opening service is looked at often"
    plane.activate_member(instance_id)
    plane.settle(instance_id)
    row = plane.instance(instance_id)
    assert (row.service_state, row.waiting_for_members) == ("Open", None)
    assert "service.opened" in plane.kinds()


def test_a_dead_node_is_found_by_the_sweep_and_replaced_without_an_operation(plane: ControlPlane) -> None:
    instance_id = plane.created()
    assert find_work(plane.world) == []
    before = plane.instance(instance_id)
    plane.backend.cluster(instance_id).kill("bank-1")
    assert find_work(plane.world) == [instance_id]
    plane.settle(instance_id)
    assert set(plane.nodes(instance_id)) == {"bank-0", "bank-2", "bank-3"}
    row = plane.instance(instance_id)
    assert (row.provisioning_state, row.app_uri) == ("Succeeded", before.app_uri)
    assert len(plane.operations(instance_id)) == 1
    assert row.next_ordinal == 4
    assert find_work(plane.world) == []


def test_routes_lose_a_dead_node_with_the_first_look(plane: ControlPlane) -> None:
    instance_id = plane.created()
    plane.backend.cluster(instance_id).kill("bank-0")
    plane.faults.arm("launch", WorkerDied(), after=False)
    with pytest.raises(WorkerDied):
        plane.turn(instance_id)
    states = {name: node.state for name, node in plane.nodes(instance_id).items()}
    assert states == {"bank-0": "Dead", "bank-1": "Running", "bank-2": "Running"}
    assert "node.dead" in plane.kinds()


def test_delete_removes_nodes_rows_and_the_operators_key_and_keeps_the_operation(plane: ControlPlane) -> None:
    instance_id = plane.created()
    plane.backend.cluster(instance_id).guarded = False
    plane.delete(instance_id)
    plane.settle(instance_id)
    assert not plane.exists(instance_id)
    assert not plane.backend.holds(instance_id)
    assert not plane.operators
    assert plane.nodes(instance_id) == {}
    assert [o.status for o in plane.operations(instance_id)] == ["Succeeded", "Succeeded"]


def test_delete_in_the_middle_of_a_creation_wins(plane: ControlPlane) -> None:
    instance_id = plane.put()
    for _ in range(3):
        plane.faults.arm("look", WorkerDied(), after=False)
        with pytest.raises(WorkerDied):
            plane.turn(instance_id)
        plane.sleep(plane.settings.lease_ms / 1000)
    plane.delete(instance_id)
    plane.settle(instance_id)
    assert not plane.exists(instance_id)


def test_a_failed_creation_says_why_and_stays_until_it_is_tried_again(plane: ControlPlane) -> None:
    instance_id = plane.put()
    plane.backend.cluster(instance_id).dies_at_start = 100
    plane.settle(instance_id)
    row = plane.instance(instance_id)
    assert (row.provisioning_state, row.due_at) == ("Failed", None)
    (operation,) = plane.operations(instance_id)
    assert operation.status == "Failed"
    assert operation.error is not None
    assert operation.error["code"] == "NodeStartFailed"
    assert find_work(plane.world) == []
    plane.backend.cluster(instance_id).dies_at_start = 0
    plane.update(instance_id)
    plane.settle(instance_id)
    assert plane.instance(instance_id).provisioning_state == "Succeeded"


def test_a_lost_quorum_shows_in_the_running_state_and_destroys_nothing(plane: ControlPlane) -> None:
    instance_id = plane.created()
    cluster = plane.backend.cluster(instance_id)
    cluster.kill("bank-0")
    cluster.kill("bank-1")
    plane.settle(instance_id)
    row = plane.instance(instance_id)
    assert (row.provisioning_state, row.running_state) == ("Succeeded", "Unknown")
    assert set(cluster.nodes) == {"bank-0", "bank-1", "bank-2"}
    assert find_work(plane.world) == [], "a lost instance is looked at when it is due, not at every sweep"
    assert plane.kinds().count("instance.lost") == 1
    plane.sleep(LOOK_AGAIN_MS / 1000)
    assert find_work(plane.world) == [instance_id]
    plane.settle(instance_id)
    assert plane.kinds().count("instance.lost") == 1


def test_a_lease_that_is_held_is_respected_and_an_expired_one_taken(plane: ControlPlane) -> None:
    instance_id = plane.put()
    with plane.database.write() as session:
        assert lease.take(session, instance_id, "other", plane.now, 10_000)
    assert plane.turn(instance_id) is Turn.NOT_OURS
    assert find_work(plane.world) == []
    plane.now += timedelta(seconds=11)
    assert find_work(plane.world) == [instance_id]
    plane.settle(instance_id)


def test_whoever_loses_the_lease_writes_nothing_more(plane: ControlPlane) -> None:
    instance_id = plane.put()
    sleep = plane.world.sleep

    def stolen(seconds: float) -> None:
        sleep(seconds)
        with plane.database.write() as session:
            lease.save(session, instance_id, plane.instance(instance_id).lease_token or "", lease_token="newer")

    object.__setattr__(plane.world, "sleep", stolen)
    assert plane.turn(instance_id) is Turn.NOT_OURS
    row = plane.instance(instance_id)
    assert (row.lease_token, row.provisioning_state) == ("newer", "Creating")


def test_a_long_turn_renews_its_lease_and_ends_in_time(plane: ControlPlane) -> None:
    instance_id = plane.put()
    plane.listens = False
    began = plane.now
    assert plane.turn(instance_id) is Turn.DUE_AGAIN
    assert timedelta(seconds=19) < plane.now - began < timedelta(seconds=25)
    assert plane.instance(instance_id).provisioning_state == "Creating"
    assert find_work(plane.world) == [instance_id]


def test_a_change_that_arrives_at_the_last_moment_is_not_overwritten(plane: ControlPlane) -> None:
    instance_id = plane.put()
    plane.settle(instance_id)
    plane.activate_member(instance_id)
    plane.update(instance_id, nodeCount=5)
    plane.settle(instance_id)
    row = plane.instance(instance_id)
    assert (row.observed_generation, len(plane.nodes(instance_id))) == (2, 5)
    assert [o.status for o in plane.operations(instance_id)] == ["Succeeded", "Succeeded"]


def test_what_members_must_decide_is_said_once_and_holds_no_worker(plane: ControlPlane) -> None:
    instance_id = plane.created()
    plane.backend.cluster(instance_id).kill("bank-2")
    for _ in range(3):
        plane.faults.arm("admit", AwaitingVotes("p1"), after=False)
        began = plane.now
        assert plane.turn(instance_id) is Turn.FINISHED
        assert plane.now - began < timedelta(seconds=2)
        plane.sleep(1.0)
        assert find_work(plane.world) == [instance_id]
    assert plane.kinds().count("service.votes_awaited") == 1
    plane.settle(instance_id)
    assert len(plane.nodes(instance_id)) == 3


def test_a_refusal_is_recorded(plane: ControlPlane) -> None:
    instance_id = plane.created()
    plane.backend.cluster(instance_id).kill("bank-2")
    plane.faults.arm("admit", ActionRefused("AuthorizationFailed", "no"), after=False)
    plane.settle(instance_id)
    assert "service.refused" in plane.kinds()
    assert len(plane.nodes(instance_id)) == 3


CALLS = ("launch", "activate", "install_sample_app", "admit", "retire", "forget", "open_service", "discard", "look")


@pytest.mark.ci
@pytest.mark.parametrize("after", [False, True], ids=["failed", "failed but took effect"])
@pytest.mark.parametrize("call", CALLS)
def test_a_step_that_fails_is_repeated_and_done_once(plane: ControlPlane, call: str, after: bool) -> None:
    """Life of an instance (create with the sample, open, lose a node, delete) with one failing call on the way."""
    error = BackendError("no room") if call in ("launch", "discard") else ServiceUnavailable("no primary")
    plane.faults.arm(call, error, after=after)
    _live_and_die(plane)


@pytest.mark.ci
@pytest.mark.parametrize("after", [False, True], ids=["before the step", "after it took effect"])
@pytest.mark.parametrize("call", [*CALLS, "remove_instance"])
def test_a_worker_that_dies_is_followed_by_another(plane: ControlPlane, call: str, after: bool) -> None:
    plane.faults.arm(call, WorkerDied(), after=after)
    _live_and_die(plane)


@pytest.mark.ci
@settings(max_examples=20)
@given(deaths=st.lists(st.tuples(st.sampled_from(CALLS), st.booleans()), max_size=6))
def test_any_number_of_dying_workers_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[tuple[str, bool]]
) -> None:
    plane = open_control_plane(tmp_path_factory.mktemp("plane"))
    try:
        for call, after in deaths:
            plane.faults.arm(call, WorkerDied(), after=after)
        _live_and_die(plane)
    finally:
        plane.database.close()


def _live_and_die(plane: ControlPlane) -> None:
    armed = set(plane.faults.armed)
    instance_id = plane.put(deploymentType={"languageRuntime": "JS", "appSourceUri": "sample"})
    _until_settled(plane, instance_id)
    cluster = plane.backend.cluster(instance_id)
    cluster.guarded = True
    # One death while opening and one while open, so that every governance step is taken.
    cluster.kill("bank-2")
    _until_settled(plane, instance_id)
    plane.activate_member(instance_id)
    _until_settled(plane, instance_id)
    assert cluster.service is not None
    assert cluster.service.has_app
    assert cluster.service.status is ServiceStatus.OPEN
    cluster.kill("bank-1")
    _until_settled(plane, instance_id)
    assert len(cluster.launches) == len(set(cluster.launches)) == 5
    assert set(cluster.service.records.values()) == {NodeStatus.TRUSTED}
    assert len(plane.nodes(instance_id)) == len(cluster.voters()) == 3
    cluster.guarded = False
    plane.delete(instance_id)
    _until_settled(plane, instance_id)
    assert not plane.exists(instance_id)
    assert not plane.backend.holds(instance_id)
    assert armed - set(plane.faults.fired) == set(), "a fault that never fires shows nothing"


def _until_settled(plane: ControlPlane, instance_id: str) -> None:
    for _ in range(200):  # every death costs the time of a lease
        try:
            if plane.turn(instance_id) is Turn.FINISHED:
                return
        except WorkerDied:
            # A killed process releases nothing: its lease has to run out.
            with plane.database.write() as session:
                lease.take(session, instance_id, "the dead", plane.now, plane.settings.lease_ms)
        plane.sleep(1.0)
        if not plane.exists(instance_id):
            return
    raise AssertionError(f"not settled: {plane.kinds()}")
