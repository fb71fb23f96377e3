"""What governance tells of token issuers, and the natives by which constitutions change them."""

from dataplane.governance.jwt import set_signing_keys
from dataplane.kv.tables import JWT_ISSUERS, TLS_CA_CERT_BUNDLES, put_json
from tests.support.governance import World, party
from tests.support.tokens import Issuer, elliptic_issuer

ISSUER, OTHER = Issuer(), elliptic_issuer("https://other.issuer")


def _world() -> World:
    world = World([party("alice")])
    tx = world.store.begin()
    put_json(tx, TLS_CA_CERT_BUNDLES, "PEM", b"bundle")
    put_json(tx, JWT_ISSUERS, {"auto_refresh": True, "ca_cert_bundle_name": "bundle"}, ISSUER.name.encode())
    set_signing_keys(tx, ISSUER.name, ISSUER.jwks(issuer=ISSUER.name))
    set_signing_keys(tx, OTHER.name, OTHER.jwks("other"))
    world.commit(tx)
    return world


def test_issuers_keys_and_bundles() -> None:
    answer = _world().get("/service/jwk")
    assert answer.status == 200
    assert answer.body == {
        "issuers": {ISSUER.name: {"autoRefresh": True, "caCertBundleName": "bundle"}},
        "keys": {
            "kid": [{"constraint": ISSUER.name, "issuer": ISSUER.name, "publicKey": ISSUER.public_pem}],
            "other": [{"constraint": None, "issuer": OTHER.name, "publicKey": OTHER.public_pem}],
        },
        "caCertBundles": {"bundle": "PEM"},
    }


def test_the_modern_read_wants_a_version_and_the_classic_one_none() -> None:
    world = _world()
    assert world.get("/service/jwk", "").code == "MissingApiVersionParameter"
    keys = world.get("/jwt_keys/all", "").body
    assert keys["kid"] == [{"constraint": ISSUER.name, "issuer": ISSUER.name, "public_key": ISSUER.public_pem}]
    assert list(keys) == ["kid", "other"]
