"""Finding endpoints (node-api.md 1.1)."""

import pytest

from dataplane.api.routing import Found, RouteTable, VerbsOnly, split_frontend
from dataplane.apps.endpoint import Context, Endpoint, Response
from dataplane.errors import InternalError


def nothing(context: Context) -> Response:
    return Response()


def table(*declared: tuple[str, str]) -> RouteTable:
    return RouteTable(Endpoint(method, path, nothing) for method, path in declared)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/gov/members", ("gov", "/members")),
        ("/node/tx", ("node", "/tx")),
        ("/app/log", ("app", "/log")),
        ("/log", ("app", "/log")),
        ("/governance", ("app", "/governance")),
        ("/app", ("app", "")),
        ("/", ("app", "/")),
    ],
)
def test_the_first_segment_selects_the_frontend(path: str, expected: tuple[str, str]) -> None:
    assert split_frontend(path) == expected


def test_an_exact_path_wins_over_a_template() -> None:
    routes = table(("GET", "/nodes/{node_id}"), ("GET", "/nodes/self"))
    found = routes.find("GET", "/nodes/self")
    assert isinstance(found, Found)
    assert found.params == {}


def test_a_template_stops_at_the_literal_that_follows() -> None:
    routes = table(("POST", "/proposals/{proposalId}:withdraw"), ("GET", "/proposals/{proposalId}"))
    found = routes.find("POST", "/proposals/abc:withdraw")
    assert isinstance(found, Found)
    assert found.params == {"proposalId": "abc"}


def test_a_parameter_is_one_segment_and_stays_as_it_came() -> None:
    routes = table(("GET", "/modules/{name}"))
    found = routes.find("GET", "/modules/a%2Fb")
    assert isinstance(found, Found)
    assert found.params == {"name": "a%2Fb"}
    assert routes.find("GET", "/modules/a/b") is None


def test_a_known_path_with_another_verb_tells_the_verbs() -> None:
    assert table(("GET", "/x"), ("POST", "/x")).find("PUT", "/x") == VerbsOnly(("GET", "POST"))


def test_two_templates_for_one_request_are_a_fault() -> None:
    routes = table(("GET", "/{a}/x"), ("GET", "/y/{b}"))
    with pytest.raises(InternalError) as caught:
        routes.find("GET", "/y/x")
    assert all(path in caught.value.message for path in ("/y/x", "/{a}/x", "/y/{b}"))


def test_an_exact_path_leaves_its_other_verbs_to_templates() -> None:
    routes = table(("GET", "/log/all"), ("POST", "/log/{id}"))
    found = routes.find("POST", "/log/all")
    assert isinstance(found, Found)
    assert found.params == {"id": "all"}
    assert routes.find("PUT", "/log/all") == VerbsOnly(("GET", "POST"))


def test_parameters_may_have_any_names() -> None:
    routes = table(("GET", "/a/{account-name}/{1}/{class}"))
    found = routes.find("GET", "/a/x/y/z")
    assert isinstance(found, Found)
    assert found.params == {"account-name": "x", "1": "y", "class": "z"}
