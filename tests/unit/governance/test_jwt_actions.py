"""Actions on token issuers and on the authorities their servers are known by (node-api.md 4.5)."""

import pytest

from dataplane.kv.tables import JWT_ISSUERS, JWT_PUBLIC_SIGNING_KEYS, TLS_CA_CERT_BUNDLES
from tests.support.governance import World, action, party
from tests.support.tokens import Issuer, rsa_key

ALICE, BOB = party("alice"), party("bob")
ISSUER = Issuer("https://one.example.com/tenant")
OTHER = Issuer("two", rsa_key("second"))


def active() -> World:
    made = World([ALICE, BOB])
    made.activate()
    return made


@pytest.fixture
def world() -> World:
    return active()


@pytest.fixture(scope="module")
def steady() -> World:
    return active()


def accepted(world: World, *actions: dict[str, object]) -> None:
    answer = world.accept(*actions)
    assert (answer.status, answer.body.get("proposalState")) == (200, "Accepted"), answer.body


def failed(world: World, one: dict[str, object]) -> str:
    proposal_id = world.propose(ALICE, one).body["proposalId"]
    world.vote(ALICE, proposal_id)
    before = world.snapshot()
    answer = world.vote(BOB, proposal_id)
    assert answer.status == 500
    assert world.snapshot() == before
    return answer.message.split("\n")[0]


def keys_of(world: World, issuer: str) -> list[str]:
    found = world.get("/service/jwk").body["keys"]
    return [kid for kid, keys in found.items() if any(key["issuer"] == issuer for key in keys)]


def test_bundles(world: World) -> None:
    accepted(world, action("set_ca_cert_bundle", name="ours", cert_bundle=ALICE.cert_pem + BOB.cert_pem))
    assert world.read(TLS_CA_CERT_BUNDLES, "ours") == ALICE.cert_pem + BOB.cert_pem
    assert world.get("/service/jwk").body["caCertBundles"] == {"ours": ALICE.cert_pem + BOB.cert_pem}
    accepted(world, action("remove_ca_cert_bundle", name="ours"), action("remove_ca_cert_bundle", name="never"))
    assert world.raw(TLS_CA_CERT_BUNDLES, "ours") is None


def test_an_issuer_with_its_keys(world: World) -> None:
    accepted(world, action("set_jwt_issuer", issuer=ISSUER.name, jwks=ISSUER.jwks(), key_filter="all"))
    assert world.read(JWT_ISSUERS, ISSUER.name) == {"issuer": ISSUER.name, "key_filter": "all"}
    assert world.get("/service/jwk").body["issuers"] == {ISSUER.name: {"autoRefresh": False}}
    assert keys_of(world, ISSUER.name) == ["kid"]
    accepted(world, action("set_jwt_public_signing_keys", issuer=ISSUER.name, jwks=OTHER.jwks(kid="new")))
    assert keys_of(world, ISSUER.name) == ["new"]
    accepted(world, action("set_jwt_issuer", issuer=ISSUER.name))  # without a key set the keys stay
    assert keys_of(world, ISSUER.name) == ["new"]
    accepted(world, action("remove_jwt_issuer", issuer=ISSUER.name), action("remove_jwt_issuer", issuer="never"))
    assert world.get("/service/jwk").body == {"issuers": {}, "keys": {}, "caCertBundles": {}}
    assert world.store.begin().items(JWT_PUBLIC_SIGNING_KEYS) == []


def test_an_issuer_whose_keys_are_fetched(world: World) -> None:
    refreshed = action("set_jwt_issuer", issuer=ISSUER.name, auto_refresh=True, ca_cert_bundle_name="ours")
    assert "no CA certificate bundle has the name ours" in failed(world, refreshed)
    accepted(world, action("set_ca_cert_bundle", name="ours", cert_bundle=ALICE.cert_pem), refreshed)
    listed = world.get("/service/jwk").body["issuers"]
    assert listed == {ISSUER.name: {"autoRefresh": True, "caCertBundleName": "ours"}}


def test_keys_of_an_issuer_that_nobody_trusts(world: World) -> None:
    one = action("set_jwt_public_signing_keys", issuer=ISSUER.name, jwks=ISSUER.jwks())
    assert "no issuer has the name" in failed(world, one)


def test_keys_that_cannot_be_stored(world: World) -> None:
    jwks = {"keys": [{"kid": "k", "kty": "RSA", "n": "!", "e": "AQAB"}]}
    assert "JWKS kid k" in failed(world, action("set_jwt_issuer", issuer=ISSUER.name, jwks=jwks))
    constrained = ISSUER.jwks(issuer="https://elsewhere.example.org")
    assert "fails validation" in failed(world, action("set_jwt_issuer", issuer=ISSUER.name, jwks=constrained))


@pytest.mark.parametrize(
    ("name", "args", "fault"),
    [
        ("set_ca_cert_bundle", {"name": "a", "cert_bundle": "no PEM"}, "cert_bundle must be a PEM certificate"),
        ("set_ca_cert_bundle", {"name": "a"}, "cert_bundle must be of type string"),
        ("set_ca_cert_bundle", {"cert_bundle": ALICE.cert_pem}, "name must be of type string"),
        ("remove_ca_cert_bundle", {}, "name must be of type string"),
        ("set_jwt_issuer", {}, "issuer must be of type string"),
        ("set_jwt_issuer", {"issuer": "i", "auto_refresh": "yes"}, "auto_refresh must be of type boolean"),
        ("set_jwt_issuer", {"issuer": "https://i", "auto_refresh": True}, "auto_refresh needs a ca_cert_bundle_name"),
        ("set_jwt_issuer", {"issuer": "i", "key_filter": "sgx"}, "key_filter must be one of all"),
        ("set_jwt_issuer", {"issuer": "i", "key_policy": {}}, "unknown argument key_policy"),
        ("set_jwt_issuer", {"issuer": "i", "jwks": []}, "jwks must be of type object"),
        ("set_jwt_issuer", {"issuer": "i", "jwks": {}}, "jwks.keys must be of type array"),
        ("set_jwt_public_signing_keys", {"issuer": "i"}, "jwks must be of type object"),
        ("set_jwt_public_signing_keys", {"issuer": "i", "jwks": {"keys": [1]}}, "jwks.keys[0] must be of type object"),
        ("remove_jwt_issuer", {}, "issuer must be of type string"),
    ],
)
def test_what_validation_refuses(steady: World, name: str, args: dict[str, object], fault: str) -> None:
    before = steady.snapshot()
    answer = steady.propose(ALICE, {"name": name, "args": args})
    assert (answer.status, answer.code) == (400, "ProposalFailedToValidate")
    assert fault in answer.message
    assert steady.snapshot() == before


@pytest.mark.parametrize("url", ["http://i", "https://", "i", "https://i?q", "https://i#f", "https://i/p?q", "ftp://i"])
def test_urls_keys_cannot_be_fetched_from(steady: World, url: str) -> None:
    args = {"issuer": url, "auto_refresh": True, "ca_cert_bundle_name": "ours"}
    answer = steady.propose(ALICE, {"name": "set_jwt_issuer", "args": args})
    assert "issuer must be an https:// URL" in answer.message


@pytest.mark.parametrize(
    ("jwk", "fault"),
    [
        ({"kty": "RSA", "n": "a", "e": "b"}, "jwks.keys[0].kid must be of type string"),
        ({"kid": "k", "n": "a", "e": "b"}, "jwks.keys[0].kty must be of type string"),
        ({"kid": "k", "kty": "RSA"}, "must hold x5c, or n and e, or x, y and crv"),
        ({"kid": "k", "kty": "RSA", "n": "a"}, "jwks.keys[0].e must be of type string"),
        ({"kid": "k", "kty": "EC", "x": "a", "y": "b"}, "jwks.keys[0].crv must be of type string"),
        ({"kid": "k", "kty": "RSA", "x5c": []}, "jwks.keys[0].x5c must not be empty"),
        ({"kid": "k", "kty": "RSA", "x5c": "AAAA"}, "jwks.keys[0].x5c must be of type array"),
        ({"kid": "k", "kty": "RSA", "x5c": ["AAAA"]}, "jwks.keys[0].x5c[0] must be a PEM certificate"),
    ],
)
def test_keys_that_fail_validation(steady: World, jwk: dict[str, object], fault: str) -> None:
    answer = steady.propose(ALICE, action("set_jwt_issuer", issuer="i", jwks={"keys": [jwk]}))
    assert (answer.status, answer.code) == (400, "ProposalFailedToValidate")
    assert fault in answer.message
