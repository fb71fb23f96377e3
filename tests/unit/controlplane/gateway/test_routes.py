"""Routes and listeners as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.routes import Changes, Route, attempts, changes, parse_address

PORTS = st.sets(st.integers(1, 9))


@given(PORTS, PORTS)
def test_after_the_changes_exactly_the_routes_are_listened_on(listening: set[int], wanted: set[int]) -> None:
    found = changes(listening, {port: Route(port, ()) for port in wanted})
    assert (listening | set(found.open)) - set(found.close) == wanted
    assert not set(found.open) & listening


def test_nothing_to_do() -> None:
    assert changes([1], {1: Route(1, ())}) == Changes((), ())


@given(st.lists(st.tuples(st.text(), st.integers()), unique=True), st.integers(0, 99))
def test_every_node_is_tried_once_and_each_comes_first_in_its_turn(nodes: list[tuple[str, int]], turn: int) -> None:
    tried = attempts(nodes, turn)
    assert sorted(tried) == sorted(nodes)
    if nodes:
        assert {attempts(nodes, turn + shift)[0] for shift in range(len(nodes))} == set(nodes)


def test_addresses() -> None:
    assert parse_address("127.0.0.1:80") == ("127.0.0.1", 80)
    with pytest.raises(ValueError, match="host:port"):
        parse_address("80")
