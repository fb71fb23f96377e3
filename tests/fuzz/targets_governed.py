"""What members sign and applications declare: governance bodies behind a good signature, bundles, endpoints.

The signature is made over the mutant, so that what lies behind authentication is reached.
"""

import json
from collections import deque
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any

from dataplane.api.join import join_endpoint
from dataplane.apps.endpoint import Context, Identity, Request
from dataplane.errors import CcfError
from dataplane.governance.nodes import NodeStatus, nodes_with_status
from dataplane.js.bundle import EndpointSpec, InvalidBundle, check_bundle
from tests.fuzz.corpus import facts
from tests.fuzz.harness import Target
from tests.fuzz.mutate import mutate, mutate_json
from tests.support.governance import World, party

_ALICE = "alice"


class Refused(Exception):
    """Raised here where an answer says no without an exception."""


@cache
def _world() -> World:
    world = World([party(_ALICE)])
    world.activate()
    world.open()
    return world


def _proposal(data: bytes) -> object:
    """Any answer of the contract will do; an exception that is none of its errors is a finding."""
    world = _world()
    versions = deque(world.store._versions)
    try:
        answer = world.post(party(_ALICE), "/members/proposals:create", "proposal", data)
    finally:
        world.store._versions = versions
    assert answer.status == 200 or answer.code in _CODES, f"{answer.status} {answer.code}: {answer.message}"
    if answer.status != 200:
        raise Refused
    return answer


_CODES = {"ProposalFailedToValidate", "InternalError", "InvalidInput", "ProposalReplay", "ProposalCreatedTooLongAgo"}


def _proposal_mutant(random: Random) -> bytes:
    return mutate_json(facts("proposals"), random)


def _bundle(data: bytes) -> object:
    document = json.loads(data)
    check_bundle(document)
    for verbs in document["metadata"]["endpoints"].values():
        for endpoint in verbs.values():
            EndpointSpec.from_json(json.dumps(endpoint))
    return document


def _bundle_mutant(random: Random) -> bytes:
    return mutate_json(facts("bundles"), random)


class _Asked:
    """The node that is asked to let another join."""

    is_primary = True
    startup_seqno = 0

    def primary_address(self, interface: str | None) -> str | None:
        return None

    def first_recovered_seqno(self) -> int | None:
        return None

    def knows_uncommitted_secret(self) -> bool:
        return False

    def admission(self) -> Mapping[str, Any]:
        return {}


@cache
def _opening() -> World:
    return World([party(_ALICE)])


def _join(data: bytes) -> object:
    """Whoever is recorded as a node must not spoil what others read of the nodes."""
    world = _opening()
    versions = deque(world.store._versions)
    tx = world.store.begin()
    request = Request("POST", "/join", "/join", "", {}, data)
    caller = Identity("any_cert", "x", facts("joiner"))
    try:
        response = join_endpoint(_Asked(), world.ops)(Context(tx, request, caller, world))
        assert response.status == 200
        world.commit(tx)
        assert world.get("/service/nodes").status == 200
        for record in nodes_with_status(world.store.begin(), NodeStatus.TRUSTED).values():
            addresses = [record["node_to_node_interface"], *record["rpc_interfaces"].values()]
            assert all(isinstance(one["published_address"], str) for one in addresses), "an address is no text"
    finally:
        world.store._versions = versions
    return response


def _join_mutant(random: Random) -> bytes:
    if random.random() < 0.8:
        return mutate_json(facts("joins"), random)
    return mutate([json.dumps(one).encode() for one in facts("joins")], (b"[" * 3000, b"null", b"{}"), random)


TARGETS = (
    Target("joins", _join_mutant, _join, (CcfError,), weight=10),
    Target("bundles", _bundle_mutant, _bundle, (InvalidBundle,), weight=25),
    Target("proposals", _proposal_mutant, _proposal, (Refused,), weight=4),
)
