"""Which nodes stand behind which port, as values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Route:
    """One instance: the port clients know, and the nodes that may answer there, in the order of their ordinals."""

    port: int
    nodes: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What must happen to the listeners so that they match the routes."""

    open: tuple[int, ...]
    close: tuple[int, ...]


def changes(listening: Iterable[int], routes: Mapping[int, Route]) -> Changes:
    """Ports to open and to close."""
    now, wanted = set(listening), set(routes)
    return Changes(tuple(sorted(wanted - now)), tuple(sorted(now - wanted)))


def attempts(nodes: Sequence[Address], turn: int) -> tuple[Address, ...]:
    """Every node once, beginning with another one each turn: connections spread, dead nodes are passed over."""
    if not nodes:
        return ()
    begin = turn % len(nodes)
    return (*nodes[begin:], *nodes[:begin])


def parse_address(text: str) -> Address:
    """`host:port` as a pair; raises `ValueError`."""
    host, _, port = text.rpartition(":")
    if not host:
        raise ValueError(f"{text!r} is not host:port")
    return host, int(port)
