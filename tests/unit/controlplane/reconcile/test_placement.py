import pytest

from controlplane.reconcile.placement import NoZone, choose_surplus, choose_zone

ZONES = ("z1", "z2", "z3")


@pytest.mark.parametrize(
    ("occupied", "expected"),
    [
        ((), "z1"),
        (("z1",), "z2"),
        (("z1", "z2"), "z3"),
        (("z1", "z2", "z3"), "z1"),
        (("z2", "z3"), "z1"),
        (("z1", "z3", "gone"), "z2"),
    ],
)
def test_the_emptiest_zone_is_chosen_and_ties_go_to_the_first(occupied: tuple[str, ...], expected: str) -> None:
    assert choose_zone(ZONES, occupied) == expected


def test_without_zones_nothing_is_placed() -> None:
    with pytest.raises(NoZone):
        choose_zone((), ())


def test_surplus_is_taken_from_a_zone_no_longer_offered_then_the_fullest_then_the_youngest() -> None:
    nodes = [("a-0", "z1", 0), ("a-1", "z2", 1), ("a-2", "z1", 2)]
    assert choose_surplus(ZONES, nodes) == "a-2"
    assert choose_surplus(ZONES, [*nodes, ("a-3", "lost", 3)]) == "a-3"
    assert choose_surplus(ZONES, reversed(nodes)) == "a-2"
