"""The planner's fake world notices what it is there to notice."""

import pytest

from controlplane.reconcile.model import LaunchMode
from tests.support.planner_world import PlannerWorld


@pytest.fixture
def world() -> PlannerWorld:
    """An open instance of three, one of them dead, and a replacement that waits to be trusted."""
    made = PlannerWorld()
    made.create(is_open=True)
    made.cluster.kill("bank-0")
    made.cluster.launch("bank-3", 3, "zone-1", LaunchMode.JOIN)
    made.cluster.tick()
    made.cluster.tick()
    return made


def test_admitting_a_replacement_beside_the_dead_node_is_caught(world: PlannerWorld) -> None:
    with pytest.raises(AssertionError, match="everything depends on id-bank-3"):
        world.cluster.admit("id-bank-3", [])


def test_admitting_it_in_place_of_the_dead_node_is_not(world: PlannerWorld) -> None:
    world.cluster.admit("id-bank-3", ["id-bank-0"])


def test_retiring_a_living_node_instead_of_the_dead_one_is_caught(world: PlannerWorld) -> None:
    with pytest.raises(AssertionError, match="retiring id-bank-1 broke the quorum"):
        world.cluster.retire("id-bank-1")


def test_stopping_a_living_node_that_is_needed_is_caught(world: PlannerWorld) -> None:
    with pytest.raises(AssertionError, match="discarding bank-1 broke the quorum"):
        world.cluster.discard("bank-1")
