"""Which nodes stand behind which port. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class NodeRow:
    """What the gateway reads of one node: its instance's id and port, its state and its address (`host:port`)."""

    instance_id: str
    port: int | None
    state: str
    rpc_address: str | None


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Ports to listen on, each with the addresses of the nodes that may serve its clients."""

    ports: Mapping[int, tuple[Address, ...]]

    def candidates(self, port: int, turn: int) -> Sequence[Address]:
        """The nodes to try for one connection, in order: each connection begins with the next node."""
        nodes = self.ports.get(port, ())
        first = turn % len(nodes) if nodes else 0
        return nodes[first:] + nodes[:first]


def build(rows: Iterable[NodeRow], known_ports: Iterable[int]) -> RouteTable:
    """The table for these nodes. `known_ports` belong to instances that exist: they are listened on without a node
    too, so that no one else takes the port and clients are refused by us."""
    nodes: dict[int, list[Address]] = {port: [] for port in known_ports}
    for row in rows:
        address = parse_address(row.rpc_address)
        if row.port is not None and row.state == "Running" and address is not None:
            nodes.setdefault(row.port, []).append(address)
    return RouteTable({port: tuple(sorted(addresses)) for port, addresses in sorted(nodes.items())})


def parse_address(text: str | None) -> Address | None:
    """`host:port`, the host in brackets if it has colons; None where the text is no address."""
    host, colon, port = (text or "").rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) <= 65535:
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)
