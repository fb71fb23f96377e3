"""Bundles are judged as a whole when they are proposed."""

from pathlib import Path
from typing import Any

import pytest

from dataplane.client.bundle import load_bundle
from dataplane.js.bundle import EndpointSpec, InvalidBundle, check_bundle
from tests.support.js_apps import ENDPOINT, one_function

SAMPLES = Path(__file__).parents[3] / "samples"
GOOD = "export const run = () => ({})"


def _with(**changes: object) -> dict[str, Any]:
    endpoint = {key: value for key, value in {**ENDPOINT, **changes}.items() if value is not ...}
    return {"metadata": {"endpoints": {"/run": {"post": endpoint}}}, "modules": [{"name": "app.js", "module": GOOD}]}


@pytest.mark.parametrize("name", ["accounts", "logging"])
def test_the_samples_are_valid(name: str) -> None:
    check_bundle(load_bundle(SAMPLES / name))


def test_a_bundle_is_valid() -> None:
    check_bundle(one_function(GOOD))
    check_bundle(_with(js_module="/app.js", interpreter_reuse={"key": "k"}, redirection_strategy="none"))


@pytest.mark.parametrize(
    ("bundle", "problem"),
    [
        (None, "the bundle must be an object"),
        ({"modules": [], "metadata": {}}, "metadata.endpoints must be an object"),
        ({"metadata": {"endpoints": {}}}, "modules must be an array"),
        ({"metadata": {"endpoints": {}}, "modules": [1]}, "each module must have a name"),
        ({"metadata": {"endpoints": {}}, "modules": [{"name": "a.js", "module": 1}]}, "each module must have"),
        (
            {"metadata": {"endpoints": {}}, "modules": [{"name": "a", "module": ""}, {"name": "/a", "module": ""}]},
            "twice",
        ),
        ({"metadata": {"endpoints": {"x": {}}}, "modules": []}, "must begin with /"),
        ({"metadata": {"endpoints": {"/x": 1}}, "modules": []}, "must be an object of verbs"),
        ({"metadata": {"endpoints": {"/x": {"fetch": ENDPOINT}}}, "modules": []}, "no HTTP verb"),
        (_with(js_module=...), "js_module must be"),
        (_with(js_function=1), "js_function must be"),
        (_with(mode="write"), "mode must be one of readwrite, readonly, historical"),
        (_with(forwarding_required=...), "forwarding_required must be one of"),
        (_with(redirection_strategy="away"), "redirection_strategy must be one of"),
        (_with(authn_policies=...), "authn_policies must be an array"),
        (_with(openapi=[1]), "openapi must be an object"),
        (_with(interpreter_reuse="k"), "interpreter_reuse must be"),
        (_with(js_module="gone.js"), "module gone.js is not in the bundle"),
        (one_function("function ("), "Failed to compile module 'app.js'"),
        (one_function("import './gone.js'"), "Failed to find module 'gone.js'"),
    ],
)
def test_what_is_wrong_with_a_bundle(bundle: object, problem: str) -> None:
    with pytest.raises(InvalidBundle, match=problem):
        check_bundle(bundle)


def test_every_problem_is_named() -> None:
    with pytest.raises(InvalidBundle) as caught:
        check_bundle(_with(mode="x", js_function=1))
    assert len(caught.value.problems) == 2


def test_a_stored_endpoint_is_read_with_its_defaults() -> None:
    spec = EndpointSpec.from_json(b'{"js_module":"/a.js","js_function":"f","mode":"readonly",'
                                  b'"forwarding_required":"never","authn_policies":[]}')  # fmt: skip
    assert (spec.module, spec.function, spec.redirection, spec.reuse_key) == ("/a.js", "f", "to_primary", None)
    with pytest.raises(InvalidBundle, match="no JSON"):
        EndpointSpec.from_json(b"{")
