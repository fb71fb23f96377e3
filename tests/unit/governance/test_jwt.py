"""Key sets of token issuers: what is stored, kept, replaced and removed (node-api.md 3.2)."""

from base64 import b64decode, b64encode

import pytest

from dataplane.governance.jwt import (
    LEGACY_KEY_ISSUERS,
    LEGACY_KEYS,
    LEGACY_METADATA,
    InvalidKeySet,
    RefreshedIssuer,
    all_token_keys,
    describe_issuers,
    is_refreshed,
    natives,
    refreshed_issuers,
    remove_signing_keys,
    set_signing_keys,
    token_key_pem,
    token_keys,
)
from dataplane.kv.store import Store
from dataplane.kv.tables import JWT_ISSUERS, JWT_PUBLIC_SIGNING_KEYS, TLS_CA_CERT_BUNDLES, get_json, put_json
from dataplane.kv.tx import Tx
from tests.support.tokens import Issuer, elliptic_issuer, rsa_key

ONE, TWO = Issuer("https://one.example.com"), Issuer("https://two.example.com", rsa_key("second"))


@pytest.fixture
def tx() -> Tx:
    return Store().begin()


def _kids(tx: Tx, issuer: str) -> list[str]:
    return [kid for kid, keys in all_token_keys(tx).items() if any(key.issuer == issuer for key in keys)]


def test_a_key_is_stored_with_issuer_and_constraint(tx: Tx) -> None:
    set_signing_keys(tx, ONE.name, ONE.jwks(issuer=ONE.name))
    (row,) = get_json(tx, JWT_PUBLIC_SIGNING_KEYS, b"kid")
    assert row == {"constraint": ONE.name, "issuer": ONE.name, "public_key": row["public_key"]}
    assert b64decode(row["public_key"])[0] == 0x30
    (key,) = token_keys(tx, "kid")
    assert (token_key_pem(key), key.issuer, key.constraint) == (ONE.public_pem, ONE.name, ONE.name)


def test_a_key_without_constraint_has_no_such_field(tx: Tx) -> None:
    set_signing_keys(tx, ONE.name, ONE.jwks(form="x5c"))
    assert set(get_json(tx, JWT_PUBLIC_SIGNING_KEYS, b"kid")[0]) == {"issuer", "public_key"}
    assert token_keys(tx, "kid")[0].constraint is None
    assert token_keys(tx, "other") == ()


def test_issuers_share_a_key_id(tx: Tx) -> None:
    set_signing_keys(tx, ONE.name, ONE.jwks())
    set_signing_keys(tx, TWO.name, TWO.jwks())
    assert [key.issuer for key in token_keys(tx, "kid")] == [ONE.name, TWO.name]
    remove_signing_keys(tx, ONE.name)
    assert [key.issuer for key in token_keys(tx, "kid")] == [TWO.name]
    remove_signing_keys(tx, TWO.name)
    assert not tx.has(JWT_PUBLIC_SIGNING_KEYS, b"kid")


def test_a_new_constraint_replaces_the_old_one(tx: Tx) -> None:
    set_signing_keys(tx, ONE.name, ONE.jwks(issuer=ONE.name))
    set_signing_keys(tx, ONE.name, ONE.jwks(issuer=f"{ONE.name}/very/specific"))
    (key,) = token_keys(tx, "kid")
    assert key.constraint == f"{ONE.name}/very/specific"


def test_absent_key_ids_of_this_issuer_are_removed(tx: Tx) -> None:
    set_signing_keys(tx, ONE.name, {"keys": [ONE.jwk("a"), ONE.jwk("b"), ONE.jwk("shared")]})
    set_signing_keys(tx, TWO.name, {"keys": [TWO.jwk("shared"), TWO.jwk("own")]})
    set_signing_keys(tx, ONE.name, {"keys": [ONE.jwk("b")]})
    assert _kids(tx, ONE.name) == ["b"]
    assert _kids(tx, TWO.name) == ["own", "shared"]


def test_what_is_stored_already_is_not_written_again() -> None:
    store = Store()
    tx = store.begin()
    set_signing_keys(tx, ONE.name, {"keys": [ONE.jwk("a"), ONE.jwk("b")]})
    store.commit(tx, 1)
    again = store.begin()
    set_signing_keys(again, ONE.name, {"keys": [ONE.jwk("b"), ONE.jwk("a")]})
    assert again.writes == {}


def test_of_two_keys_with_one_id_the_first_counts(tx: Tx) -> None:
    set_signing_keys(tx, ONE.name, {"keys": [ONE.jwk(), TWO.jwk()]})
    (key,) = token_keys(tx, "kid")
    assert token_key_pem(key) == ONE.public_pem


@pytest.mark.parametrize(
    "constraint", ["https://trusted.issuer.com", "https://issuer.com", "http://TRUSTED.issuer.com:9/x", "https://com"]
)
def test_a_constraint_of_the_host_or_above_it(tx: Tx, constraint: str) -> None:
    set_signing_keys(tx, "https://trusted.issuer.com/something", ONE.jwks(issuer=constraint))
    assert token_keys(tx, "kid")[0].constraint == constraint


@pytest.mark.parametrize(
    "constraint",
    ["", "garbage", "https://another.com", "https://issuer.com.domain", "https://a.trusted.issuer.com",
     "https://uer.com", "https://[", 5],
)  # fmt: skip
def test_a_constraint_of_another_host_is_refused_and_changes_nothing(tx: Tx, constraint: object) -> None:
    jwks = {"keys": [ONE.jwk("good"), ONE.jwk("bad", issuer=constraint)]}
    with pytest.raises(InvalidKeySet, match="fails validation against issuer"):
        set_signing_keys(tx, "https://trusted.issuer.com/something", jwks)
    assert tx.writes == {}


@pytest.mark.parametrize(
    ("jwks", "reason"),
    [
        (None, "JWKS has no keys"),
        ([], "JWKS has no keys"),
        ({}, "JWKS has no keys"),
        ({"keys": []}, "JWKS has no keys"),
        ({"keys": {}}, "JWKS has no keys"),
        ({"keys": [5]}, "Missing kid"),
        ({"keys": [{"n": "AA"}]}, "Missing kid"),
        ({"keys": [{"kid": "k"}]}, "JWKS kid k: there is neither"),
        ({"keys": [{"kid": "\ud800"}]}, "no text"),
    ],
)
def test_key_sets_that_cannot_be_stored(tx: Tx, jwks: object, reason: str) -> None:
    with pytest.raises(InvalidKeySet, match=reason):
        set_signing_keys(tx, ONE.name, jwks)
    assert tx.writes == {}


def test_keys_of_older_releases_are_found_and_removed(tx: Tx) -> None:
    certificate = ONE.certificate_der()
    put_json(tx, LEGACY_METADATA, [{"cert": b64encode(certificate).decode(), "issuer": ONE.name}], b"five")
    tx.put(LEGACY_KEYS, b"two", certificate)
    tx.put(LEGACY_KEY_ISSUERS, b"two", ONE.name.encode())
    tx.put(LEGACY_KEYS, b"orphan", certificate)
    for kid in ("five", "two"):
        (key,) = token_keys(tx, kid)
        assert (token_key_pem(key), key.issuer) == (ONE.public_pem, ONE.name)
    assert token_keys(tx, "orphan") == ()
    remove_signing_keys(tx, ONE.name)
    assert token_keys(tx, "five") == token_keys(tx, "two") == ()


def test_the_newer_table_hides_the_older(tx: Tx) -> None:
    put_json(tx, LEGACY_METADATA, [{"cert": b64encode(TWO.certificate_der()).decode(), "issuer": TWO.name}], b"kid")
    set_signing_keys(tx, ONE.name, ONE.jwks())
    assert [key.issuer for key in token_keys(tx, "kid")] == [ONE.name]


def test_a_stored_key_that_cannot_be_used_verifies_nothing(tx: Tx) -> None:
    put_json(tx, JWT_PUBLIC_SIGNING_KEYS, [{"public_key": "AAAA", "issuer": "x"}, {"cert": "?", "issuer": "x"}], b"kid")
    assert token_keys(tx, "kid") == ()


def test_issuers_and_which_of_them_are_refreshed(tx: Tx) -> None:
    put_json(tx, JWT_ISSUERS, {"issuer": "a", "auto_refresh": True, "ca_cert_bundle_name": "ca"}, b"a")
    put_json(tx, JWT_ISSUERS, {"issuer": "b"}, b"b")
    put_json(tx, JWT_ISSUERS, {"issuer": "c", "auto_refresh": True, "ca_cert_bundle_name": "missing"}, b"c")
    put_json(tx, TLS_CA_CERT_BUNDLES, "PEM", b"ca")
    assert refreshed_issuers(tx) == [RefreshedIssuer("a", "ca", "PEM"), RefreshedIssuer("c", "missing", None)]
    assert [is_refreshed(tx, name) for name in "abz"] == [True, False, None]
    assert describe_issuers(tx)["a"] == {"autoRefresh": True, "caCertBundleName": "ca"}
    assert describe_issuers(tx)["b"] == {"autoRefresh": False}


def test_the_natives_of_a_constitution(tx: Tx) -> None:
    functions = natives(tx)
    functions["setJwtPublicSigningKeys"](ONE.name, {"issuer": ONE.name}, ONE.jwks())
    assert _kids(tx, ONE.name) == ["kid"]
    functions["removeJwtPublicSigningKeys"](ONE.name)
    assert _kids(tx, ONE.name) == []
    with pytest.raises(TypeError, match="issuer argument is not a string"):
        functions["setJwtPublicSigningKeys"](5, {}, {})
    with pytest.raises(InvalidKeySet):
        functions["setJwtPublicSigningKeys"](ONE.name, {}, {"foo": "bar"})


def test_elliptic_keys_are_stored_too(tx: Tx) -> None:
    issuer = elliptic_issuer()
    set_signing_keys(tx, issuer.name, issuer.jwks())
    assert token_key_pem(token_keys(tx, "kid")[0]) == issuer.public_pem
