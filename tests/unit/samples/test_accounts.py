"""The sample application: accounts and transfers between organisations."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.apps.endpoint import Context, Identity, Request
from dataplane.client.bundle import load_bundle
from tests.support.js_apps import Node, World

BUNDLE = load_bundle(Path(__file__).parents[3] / "samples" / "accounts")
MEMBER = Identity("member_cert", "m0", "PEM")
ALICE = Identity("user_cert", "alice", "PEM", {"organisation": "contoso"})
BOB = Identity("user_cert", "bob", "PEM", {"organisation": "fabrikam"})
EVE = Identity("user_cert", "eve", "PEM")


class Bank:
    """The application with its answers decoded."""

    def __init__(self) -> None:
        self.world = World().deploy(BUNDLE)

    def ask(self, method: str, path: str, caller: Identity | None = None, body: object = b"") -> tuple[int, Any]:
        response = self.world.request(method, f"/app{path}", body, caller)
        return response.status, json.loads(response.body)

    def opened(self) -> "Bank":
        assert self.ask("PUT", "/accounts/a", ALICE)[0] == 201
        assert self.ask("PUT", "/accounts/b", BOB)[0] == 201
        assert self.ask("POST", "/accounts/a/deposits", MEMBER, {"amount": 100})[0] == 201
        return self

    def balances(self) -> dict[str, int]:
        rows = self.world.store.begin().items("accounts")
        return {key.decode(): json.loads(value)["balance"] for key, value in rows}


def test_an_account_is_opened_once_and_read_by_its_owner() -> None:
    bank = Bank()
    expected = {"account": "a", "organisation": "contoso", "balance": 0}
    assert bank.ask("PUT", "/accounts/a", ALICE) == (201, expected)
    assert bank.ask("GET", "/accounts/a", ALICE) == (200, expected)
    assert bank.ask("PUT", "/accounts/a", BOB)[1]["error"]["code"] == "AccountExists"
    assert bank.ask("GET", "/accounts/a", BOB)[0] == 403
    assert bank.ask("GET", "/accounts/none", ALICE)[0] == 404
    assert bank.ask("PUT", "/accounts/external", ALICE)[0] == 409


def test_a_user_without_data_is_its_own_organisation() -> None:
    assert Bank().ask("PUT", "/accounts/e", EVE)[1]["organisation"] == "eve"


def test_a_transfer_moves_money_and_is_seen_in_outline() -> None:
    bank = Bank().opened()
    body = {"from": "a", "to": "b", "amount": 60, "reference": "invoice 7"}
    status, made = bank.ask("POST", "/transfers", ALICE, body)
    assert status == 201
    statement = json.loads(made["statement"])
    assert len(statement.pop("salt")) == 32
    assert statement == {"id": 2, **body}
    assert made["digest"] == sha256(made["statement"].encode()).hexdigest()
    assert bank.ask("GET", "/accounts/b", BOB)[1]["balance"] == 60
    assert bank.ask("GET", "/transfers/2") == (
        200,
        {"id": 2, "from": "contoso", "to": "fabrikam", "digest": made["digest"]},
    )
    entry = {"id": 2, "counterparty": "b", "amount": -60, "reference": "invoice 7", "balance": 40}
    assert bank.ask("GET", "/accounts/a/entries", ALICE)[1]["entries"][1] == entry
    assert all(set(seen) == {"id", "from", "to", "digest"} for seen in bank.ask("GET", "/transfers")[1]["transfers"])


def test_the_statement_is_for_its_parties() -> None:
    bank = Bank().opened()
    made = bank.ask("POST", "/transfers", ALICE, {"from": "a", "to": "b", "amount": 1})[1]
    response = bank.world.request("GET", "/app/transfers/2/statement", caller=BOB)
    assert response.body.decode() == made["statement"]
    assert response.headers["content-type"] == "application/json"
    assert bank.ask("GET", "/transfers/2/statement", EVE)[0] == 403


def test_the_transaction_claims_the_statement() -> None:
    bank = Bank().opened()
    world, body = bank.world, json.dumps({"from": "a", "to": "b", "amount": 1}).encode()
    tx = world.store.begin()
    found: Any = world.app.find(tx, "POST", "/transfers")
    request = Request("POST", "/app/transfers", "/app/transfers", "", {}, body, {}, "/app/transfers")
    answer = json.loads(found.endpoint.run(Context(tx, request, ALICE, Node())).body)
    assert tx.claims_digest is not None
    assert tx.claims_digest.hex() == answer["digest"]
    assert {table for table in tx.writes if table.startswith("public:")} == {"public:transfers", "public:counters"}


@pytest.mark.parametrize(
    ("caller", "body", "status", "code"),
    [
        (ALICE, {"from": "a", "to": "b", "amount": 101}, 409, "InsufficientFunds"),
        (BOB, {"from": "a", "to": "b", "amount": 1}, 403, "NotYourAccount"),
        (ALICE, {"from": "a", "to": "a", "amount": 1}, 400, "InvalidInput"),
        (ALICE, {"from": "a", "to": "none", "amount": 1}, 404, "AccountNotFound"),
        (ALICE, {"from": "none", "to": "a", "amount": 1}, 404, "AccountNotFound"),
        (ALICE, {"from": "external", "to": "a", "amount": 1}, 403, "NotYourAccount"),
        (ALICE, {"from": "a", "to": "b", "amount": 0}, 400, "InvalidInput"),
        (ALICE, {"from": "a", "to": "b", "amount": -1}, 400, "InvalidInput"),
        (ALICE, {"from": "a", "to": "b", "amount": 0.5}, 400, "InvalidInput"),
        (ALICE, {"from": "a", "to": "b", "amount": "1"}, 400, "InvalidInput"),
        (ALICE, {"from": "a", "to": "b", "amount": 2**53}, 400, "InvalidInput"),
        (ALICE, {"from": "a", "to": "b"}, 400, "InvalidInput"),
        (ALICE, {"from": "A/../b", "to": "b", "amount": 1}, 400, "InvalidInput"),
        (ALICE, {"from": "a", "to": "b", "amount": 1, "reference": "x" * 141}, 400, "InvalidInput"),
        (ALICE, [], 400, "InvalidInput"),
        (ALICE, b"{", 400, "InvalidInput"),
        (ALICE, b"", 400, "InvalidInput"),
    ],
)
def test_a_refused_transfer_changes_nothing(caller: Identity, body: object, status: int, code: str) -> None:
    bank = Bank().opened()
    version = bank.world.store.version
    found, answer = bank.ask("POST", "/transfers", caller, body)
    assert (found, answer["error"]["code"]) == (status, code)
    assert bank.world.store.version == version


def test_balances_stay_exact() -> None:
    bank = Bank().opened()
    assert bank.ask("POST", "/accounts/b/deposits", MEMBER, {"amount": 2**53 - 1 - 100})[0] == 201
    assert bank.ask("POST", "/accounts/b/deposits", MEMBER, {"amount": 1})[1]["error"]["code"] == "BalanceTooLarge"


def test_public_records_come_by_range() -> None:
    bank = Bank().opened()
    for _ in range(4):
        bank.ask("POST", "/transfers", ALICE, {"from": "a", "to": "b", "amount": 1})
    assert [t["id"] for t in bank.ask("GET", "/transfers")[1]["transfers"]] == [1, 2, 3, 4, 5]
    assert [t["id"] for t in bank.ask("GET", "/transfers?first=2&last=3")[1]["transfers"]] == [2, 3]
    assert bank.ask("GET", "/transfers?first=9") == (200, {"newest": 5, "transfers": []})
    assert bank.ask("GET", "/transfers?first=x")[0] == 400
    assert bank.ask("GET", "/transfers/99")[0] == 404
    assert Bank().ask("GET", "/transfers") == (200, {"newest": 0, "transfers": []})


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 150)), max_size=8))
def test_all_balances_always_add_up_to_zero(moves: list[tuple[str, int]]) -> None:
    bank = Bank().opened()
    for payer, amount in moves:
        caller, payee = (ALICE, "b") if payer == "a" else (BOB, "a")
        bank.ask("POST", "/transfers", caller, {"from": payer, "to": payee, "amount": amount})
    balances = bank.balances()
    assert sum(balances.values()) == 0
    assert all(balance >= 0 for account, balance in balances.items() if account != "external")
