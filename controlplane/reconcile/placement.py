"""Spread an instance's nodes over zones, so that losing one zone costs as few nodes as possible. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence


class NoZone(ValueError):
    """There is nowhere to put a node."""


def choose_zone(zones: Sequence[str], occupied: Iterable[str]) -> str:
    """The zone with the fewest of the instance's living nodes; the first in `zones` where several are equal.

    `occupied` names one zone per living node; zones that are not offered any more do not count. Raises `NoZone`.
    """
    if not zones:
        raise NoZone("no zone is available")
    count = Counter(occupied)
    return min(zones, key=lambda zone: (count[zone], zones.index(zone)))


def choose_surplus(zones: Sequence[str], candidates: Iterable[tuple[str, str, int]]) -> str:
    """The name of the node to give up among (name, zone, ordinal): from the fullest zone, the youngest there."""
    nodes = sorted(candidates)
    count = Counter(zone for _, zone, _ in nodes)
    return max(nodes, key=lambda node: (node[1] not in zones, count[node[1]], node[2]))[0]
