"""What members sign and applications declare: governance bodies behind a good signature, bundles, endpoints.

The signature is made over the mutant, so that what lies behind authentication is reached.
"""

import json
from collections import deque
from functools import cache
from random import Random

from dataplane.js.bundle import EndpointSpec, InvalidBundle, check_bundle
from tests.fuzz.corpus import facts
from tests.fuzz.harness import Target
from tests.fuzz.mutate import mutate_json
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


TARGETS = (
    Target("bundles", _bundle_mutant, _bundle, (InvalidBundle,), weight=25),
    Target("proposals", _proposal_mutant, _proposal, (Refused,), weight=4),
)
