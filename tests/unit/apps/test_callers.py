"""`request.caller` for each policy that can be met, and the policies an application may name (node-api.md 3.1, 3.4)."""

import json
from typing import Any

import pytest

from dataplane.apps.endpoint import AllOf, Identity, Policy, Token
from dataplane.crypto.cose import Sign1
from tests.support.js_apps import World, one_function

CERTIFIED = Identity("user_cert", "ab" * 32, "PEM", {"role": 1})
COSE = Identity("user_cose_sign1", "cd" * 32, "PEM", None, Sign1({}, b"", {}, b'{"n":5}', b""))
BEARER = Identity("jwt", jwt=Token("https://issuer", {"alg": "RS256", "kid": "k"}, {"sub": "é\ud800", "n": 2**70}))


def _caller(identity: Identity | None, expression: str = "request.caller", world: World | None = None) -> Any:
    made = world or World().deploy(one_function(_script(expression), authn_policies=[]))
    return json.loads(made.request("POST", "/app/run", caller=identity).body)[0]


def _script(expression: str) -> str:
    return f"export function run(request) {{ return {{ body: [{expression}] }} }}"


def test_a_bearer_is_its_token() -> None:
    assert _caller(BEARER) == {
        "policy": "jwt",
        "jwt": {
            "keyIssuer": "https://issuer",
            "header": {"alg": "RS256", "kid": "k"},
            "payload": {"sub": "é\ud800", "n": float(2**70)},
        },
    }


def test_one_bearer_is_never_taken_for_another() -> None:
    world = World().deploy(one_function(_script("request.caller.jwt.payload.sub"), authn_policies=[]))
    for name in ("alice", "bob", "alice"):
        identity = Identity("jwt", jwt=Token("i", {}, {"sub": name}))
        assert _caller(identity, world=world) == name


def test_a_signed_body_is_handed_over_as_bytes() -> None:
    expression = (
        "request.caller.policy, request.caller.id, request.caller.cert, request.caller.data, "
        "ccf.bufToJsonCompatible(request.caller.cose.content)"
    )
    assert _caller(COSE, f"[{expression}]") == ["user_cose_sign1", "cd" * 32, "PEM", None, {"n": 5}]


@pytest.mark.parametrize("parts", [(CERTIFIED, BEARER), (CERTIFIED, BEARER, COSE)], ids=["text", "bytes"])
def test_a_combined_caller_has_a_part_for_each_policy(parts: tuple[Identity, ...]) -> None:
    combined = Identity("all_of", all_of={part.policy: part for part in parts})
    caller = _caller(combined)
    assert caller["policy"] == sorted(part.policy for part in parts)
    assert caller["user_cert"] == {"policy": "user_cert", "id": "ab" * 32, "data": {"role": 1}, "cert": "PEM"}
    assert caller["jwt"]["jwt"]["payload"]["n"] == float(2**70)
    assert ("user_cose_sign1" in caller) == (COSE in parts)


@pytest.mark.parametrize(
    ("declared", "policy"),
    [
        ("jwt", "jwt"),
        ({"all_of": ["jwt", "user_cert"]}, AllOf(("jwt", "user_cert"))),
        ("member_cose_sign1:ballot", '"member_cose_sign1:ballot"'),
        ("node_cert", '"node_cert"'),
        ({"all_of": ["node_cert"]}, '{"all_of": ["node_cert"]}'),
        ({"all_of": []}, '{"all_of": []}'),
        ({"all_of": [5]}, '{"all_of": [5]}'),
        ({"any_of": ["jwt"]}, '{"any_of": ["jwt"]}'),
        (7, "7"),
    ],
)
def test_policies_of_an_application(declared: object, policy: Policy) -> None:
    world = World().deploy(one_function("", authn_policies=[declared]))
    (endpoint,) = world.app.endpoints(world.store.begin())
    assert endpoint.authn == (policy,)
