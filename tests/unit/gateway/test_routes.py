import pytest

from controlplane.gateway.routes import NodeRow, RouteTable, build, parse_address


def _row(state: str = "Running", address: str | None = "127.101.1.1:4000", port: int | None = 20_000) -> NodeRow:
    return NodeRow("i", port, state, address)


def test_only_running_nodes_with_an_address_are_routed() -> None:
    rows = [_row(), _row("Dead", "127.0.0.1:1"), _row("Joining", "127.0.0.1:2"), _row("Running", None)]
    assert build(rows, [20_000]).ports == {20_000: (("127.101.1.1", 4000),)}


def test_a_port_without_nodes_is_kept_and_a_node_without_port_is_not_routed() -> None:
    assert build([_row(port=None)], [20_001]).ports == {20_001: ()}


def test_connections_begin_with_one_node_after_the_other_and_try_all() -> None:
    table = RouteTable({1: (("a", 1), ("b", 2), ("c", 3))})
    assert [table.candidates(1, turn)[0][0] for turn in range(4)] == ["a", "b", "c", "a"]
    assert sorted(table.candidates(1, 5)) == [("a", 1), ("b", 2), ("c", 3)]
    assert table.candidates(2, 0) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:443", ("::1", 443)),
        ("node.example:1", ("node.example", 1)),
        ("127.0.0.1", None),
        ("127.0.0.1:0", None),
        ("127.0.0.1:70000", None),
        ("127.0.0.1:x", None),
        (":80", None),
        ("", None),
        (None, None),
    ],
)
def test_addresses(text: str | None, expected: tuple[str, int] | None) -> None:
    assert parse_address(text) == expected
