"""Who decides, under each constitution, against rules written down once more in Python (docs/governance.md)."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.governance.constitution import script_of
from dataplane.governance.constitution_texts import constitution_text
from dataplane.governance.proposals import Vote
from dataplane.kv.store import Store
from dataplane.kv.tables import CONSTITUTION, MEMBERS_ENCRYPTION_PUBLIC_KEYS, MEMBERS_INFO, put_json
from dataplane.kv.tx import Tx
from tests.support.governance import Ops

TEXT = json.dumps({"actions": [{"name": "remove_user", "args": {"user_id": "a" * 64}}]})
DUTIES = (None, "is_operator", "is_operator_provisioner")


@dataclass(frozen=True)
class Somebody:
    """A member, or one who was: `vote` None stands for no ballot."""

    state: str
    keyed: bool
    duty: str | None
    vote: bool | None

    def has(self, duty: str) -> bool:
        return self.duty == duty and not self.keyed


PEOPLE = st.lists(
    st.builds(
        Somebody,
        st.sampled_from(["Active", "Active", "Active", "Accepted", "removed"]),
        st.booleans(),
        st.sampled_from(DUTIES),
        st.sampled_from([None, True, False]),
    ),
    min_size=1,
    max_size=7,
)


def expected(name: str, people: list[Somebody]) -> str:
    """What the rules say of a proposal by the first of `people`, for an action that nobody may take alone."""
    excluded = {
        "managed": lambda who: who.duty == "is_operator",
        "operator": lambda who: who.has("is_operator"),
        "operator_provisioner": lambda who: who.has("is_operator") or who.has("is_operator_provisioner"),
    }.get(name, lambda who: False)
    voters = [who for who in people if who.state == "Active" and not excluded(who)]
    yes, no = (sum(who.vote is wanted for who in voters) for wanted in (True, False))
    majority = len(voters) // 2 + 1
    if name == "sandbox":
        return "Accepted"
    if name == "operator_provisioner" and people[0].state != "removed" and people[0].has("is_operator_provisioner"):
        return "Rejected"
    if name == "veto" and no:
        return "Rejected"
    if yes >= majority:
        return "Accepted"
    return "Rejected" if name == "managed" and voters and len(voters) - no < majority else "Open"


def written(name: str, people: list[Somebody]) -> Tx:
    tx = Store().begin()
    put_json(tx, CONSTITUTION, constitution_text(name))
    for number, who in enumerate(people):
        if who.state == "removed":
            continue
        data = {who.duty: True} if who.duty else {}
        put_json(tx, MEMBERS_INFO, {"status": who.state, "member_data": data}, f"m{number}".encode())
        if who.keyed:
            tx.put(MEMBERS_ENCRYPTION_PUBLIC_KEYS, f"m{number}".encode(), b"PEM")
    return tx


@pytest.mark.parametrize("name", ["default", "managed", "operator", "operator_provisioner", "roles", "sandbox", "veto"])
@given(people=PEOPLE)
def test_it_decides_as_the_rules_say(name: str, people: list[Somebody]) -> None:
    tx = written(name, people)
    votes = [Vote(f"m{number}", who.vote) for number, who in enumerate(people) if who.vote is not None]
    assert script_of(tx, Ops()).resolve(TEXT, "m0", votes, "p") == expected(name, people)
