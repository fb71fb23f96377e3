"""From any state, the planner's steps bring a fake world where it should be, and never endanger a quorum.

`FakeCluster` checks the quorums at each step; faults come between any two steps.
"""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from controlplane.reconcile.model import Done, Failed, NodeStatus, ServiceStatus, Wait, quorum
from tests.support.planner_world import PlannerWorld

COUNTS = st.sampled_from([1, 3, 5])
# What happens beside the planner between two of its turns.
HAPPENINGS = st.lists(
    st.sampled_from(["turn", "turn", "turn", "tick", "kill", "kill_newest", "bad_launch", "activate", "scale"]),
    max_size=60,
)


BEGINNINGS = st.sampled_from(["nothing", "opening", "open"])


@given(count=COUNTS, beginning=BEGINNINGS, happenings=HAPPENINGS, picks=st.data())
def test_converges_from_whatever_happened(
    count: int, beginning: str, happenings: list[str], picks: st.DataObject
) -> None:
    world = _world(count, beginning)
    for happening in happenings:
        _happen(world, happening, picks)
    end = world.converge()
    if isinstance(end, Failed):
        assert not world.desired.established, "an established instance kept its quorum, so it is never given up"
        assert end.code in ("NodeStartFailed", "CreationTimeout")
        return
    _assert_as_desired(world)


@given(beginning=BEGINNINGS, happenings=HAPPENINGS, picks=st.data())
def test_delete_converges_from_whatever_happened(beginning: str, happenings: list[str], picks: st.DataObject) -> None:
    world = _world(3, beginning)
    for happening in happenings:
        _happen(world, happening, picks)
    world.desired, world.cluster.guarded = replace(world.desired, deleting=True), False
    assert world.converge() == Done()
    assert not world.cluster.nodes
    assert not world.leftovers


@given(count=st.sampled_from([3, 5]), picks=st.data())
def test_a_lost_quorum_is_said_and_nothing_is_destroyed(count: int, picks: st.DataObject) -> None:
    world = PlannerWorld(count)
    world.create(is_open=picks.draw(st.booleans()))
    victims = picks.draw(st.permutations(sorted(world.cluster.nodes)))[: quorum(count)]
    for name in victims:
        world.cluster.kill(name)
    before = set(world.cluster.nodes)
    end = world.converge()
    assert isinstance(end, Failed)
    assert end.code == "QuorumLost"
    assert set(world.cluster.nodes) == before


def _world(count: int, beginning: str) -> PlannerWorld:
    world = PlannerWorld(count)
    if beginning != "nothing":
        world.create(is_open=beginning == "open")
    return world


def _happen(world: PlannerWorld, happening: str, picks: st.DataObject) -> None:
    cluster = world.cluster
    match happening:
        case "turn":
            if isinstance(world.turn(), Wait):
                cluster.tick(0.5)
        case "tick":
            cluster.tick()
        case "bad_launch":
            cluster.dies_at_start = 1
        case "activate" if cluster.service is not None:
            cluster.service.members["m0"] = True
        case "scale" if world.desired.established:
            world.desired = replace(world.desired, node_count=picks.draw(st.sampled_from([3, 5])))
        case "kill":
            _kill(world, picks, sorted(name for name, node in cluster.nodes.items() if node.running))
        case "kill_newest":
            _kill(world, picks, sorted(n.name for n in cluster.nodes.values() if n.running and not n.serves))


def _kill(world: PlannerWorld, picks: st.DataObject, candidates: list[str]) -> None:
    """Kill one of them, unless that alone would cost an established instance its quorum: nobody can mend that."""
    if not candidates:
        return
    node = world.cluster.nodes[picks.draw(st.sampled_from(candidates))]
    serving = node.serves
    node.running = node.serves = False
    if world.desired.established and not world.cluster.can_commit():
        node.running, node.serves = True, serving


def _assert_as_desired(world: PlannerWorld) -> None:
    cluster = world.cluster
    assert cluster.service is not None
    running = {node.node_id for node in cluster.nodes.values() if node.running}
    assert cluster.voters() == running
    assert len(running) == world.desired.node_count
    assert all(node.running for node in cluster.nodes.values())
    assert set(cluster.service.records.values()) == {NodeStatus.TRUSTED}
    assert world.routed == set(cluster.nodes)
    assert (cluster.service.status is ServiceStatus.OPEN) == any(cluster.service.members.values())
    zones = [node.zone for node in cluster.nodes.values()]
    assert max(map(zones.count, zones)) <= len(running)
