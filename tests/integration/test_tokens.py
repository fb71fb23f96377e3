"""Callers of a real service: tokens, with keys from members and from their issuer, signed bodies, all together."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dataplane.client.session import Response
from dataplane.crypto.cose import ALG, KID, sign1
from dataplane.crypto.keys import cert_id, load_private_key
from tests.support.nodes import NodeProcess, Service, wait_until
from tests.support.tls_server import Answer, Asked, ServiceIdentity, serving
from tests.support.tokens import Issuer, elliptic_issuer, rsa_key

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]

APP = Path(__file__).parents[1] / "support" / "apps" / "callers"
ISSUER = Issuer()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.start(
        3,
        tmp_path_factory.mktemp("service"),
        open_with=APP,
        settings={"jwt": {"key_refresh_interval": "300ms"}},
    ) as running:
        yield running


def _act(service: Service, action: str, **args: object) -> None:
    service.pass_proposal([{"name": action, "args": args}])


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _now() -> datetime:
    return datetime.now(UTC)


def _jwk(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service.any_session().get_json("/gov/service/jwk?api-version=2024-07-01")
    return found


def _with_token(service: Service, token: str, node: NodeProcess | None = None) -> Response:
    return service.session(node).request("GET", "/app/jwt", headers=_bearer(token))


def _reasons(answer: Response) -> str:
    assert answer.status == 401
    return " ".join(detail["message"] for detail in answer.json()["error"]["details"])


@pytest.mark.parametrize("issuer", [ISSUER, elliptic_issuer()], ids=["RS256", "ES256"])
def test_a_token_is_taken_on_every_node_until_its_issuer_is_removed(service: Service, issuer: Issuer) -> None:
    _act(service, "set_jwt_issuer", issuer=issuer.name, jwks=issuer.jwks(issuer=issuer.name))
    token = issuer.token(now=_now(), user="Alice")
    for node in service.alive():
        wait_until("the key", lambda: _with_token(service, token, node).status == 200)  # noqa: B023
    caller = _with_token(service, token).json()
    assert caller["policy"] == "jwt"
    assert caller["jwt"]["keyIssuer"] == issuer.name
    assert caller["jwt"]["payload"]["user"] == "Alice"
    assert _jwk(service)["keys"]["kid"][0]["publicKey"] == issuer.public_pem

    refused = _with_token(service, "garbage")
    assert "Malformed JWT" in _reasons(refused)
    assert refused.headers["www-authenticate"] == 'Bearer realm="JWT bearer token access", error="invalid_token"'
    assert "Signature" in _reasons(_with_token(service, Issuer(issuer.name, rsa_key("second")).token(now=_now())))

    _act(service, "remove_jwt_issuer", issuer=issuer.name)
    wait_until("the key to go", lambda: "not found for kid kid" in _reasons(_with_token(service, token)))


def test_an_endpoint_takes_whoever_comes_by_the_first_policy_that_fits(service: Service) -> None:
    _act(service, "set_jwt_issuer", issuer=ISSUER.name, jwks=ISSUER.jwks())
    bearer = _bearer(ISSUER.token(now=_now()))
    user = service.users["user0"]
    key, certificate = load_private_key(user.private_key.read_bytes()), user.certificate.read_text()
    signed = sign1(key, [(ALG, -35), (KID, cert_id(certificate).encode())], b'{"some":"content"}')
    cose = {"content-type": "application/cose"}

    def ask(user: str | None, headers: dict[str, str], body: bytes = b"") -> Any:
        answer = service.session(user=user).request("POST", "/app/multi_auth", headers=headers, body=body)
        assert answer.status == 200, answer.body
        return answer.json()

    assert ask(None, {}) == {"policy": "no_auth"}
    by_certificate = ask("user0", {})
    assert by_certificate == {"policy": "user_cert", "id": cert_id(certificate), "data": None, "cert": certificate}
    assert ask(None, bearer)["policy"] == "jwt"
    by_body = ask(None, cose, signed)
    assert by_body == {**by_certificate, "policy": "user_cose_sign1", "cose": {"content": {"some": "content"}}}
    everything = ask("user0", {**bearer, **cose}, signed)
    assert everything["policy"] == ["jwt", "user_cert", "user_cose_sign1"]
    assert everything["user_cert"] == by_certificate
    assert everything["user_cose_sign1"] == by_body


def test_unknown_policies_and_authorisation_of_ones_own(service: Service) -> None:
    answer = service.any_session().request("GET", "/app/unknown")
    assert (answer.status, answer.json()["error"]["code"]) == (500, "InternalError")
    assert service.any_session().request("GET", "/app/custom_auth", headers=_bearer("42")).json() is True


def test_the_hidden_refresh_endpoint_is_for_nodes(service: Service) -> None:
    answer = service.session(user="user0").request("POST", "/node/jwt_keys/refresh", json_body={})
    assert "node certificate" in _reasons(answer)


class OpenId:
    """An issuer's server: what it answers can be changed while it runs."""

    def __init__(self, issuer: Issuer, kid: str) -> None:
        self.keys: object = issuer.jwks(kid)
        self.url = ""

    def __call__(self, asked: Asked) -> Answer:
        pages = {
            "/.well-known/openid-configuration": {"jwks_uri": f"{self.url}/keys"},
            "/keys": self.keys,
        }
        if asked.path not in pages:
            return 404, {}, b""
        return 200, {"content-type": "application/json"}, json.dumps(pages[asked.path]).encode()


@contextmanager
def _openid(authority: ServiceIdentity, directory: Path, issuer: Issuer, kid: str) -> Iterator[OpenId]:
    server = OpenId(issuer, kid)
    key, certificate = authority.node("iPAddress:127.0.0.1")
    with serving(server, certificate, key, directory) as url:
        server.url = url
        yield server


def test_the_primary_keeps_an_issuers_keys_fresh_and_a_new_primary_goes_on(service: Service, tmp_path: Path) -> None:
    authority, second = ServiceIdentity(), Issuer(key=rsa_key("second"))
    _act(service, "set_ca_cert_bundle", name="issuer", cert_bundle=authority.certificate)

    def has(kid: str, issuer: Issuer) -> Callable[[], bool]:
        return lambda: any(key["publicKey"] == issuer.public_pem for key in _jwk(service)["keys"].get(kid, []))

    with _openid(authority, tmp_path, ISSUER, "fetched") as server:
        metadata: dict[str, object] = {"issuer": server.url, "auto_refresh": True, "ca_cert_bundle_name": "issuer"}
        _act(service, "set_jwt_issuer", **metadata)
        wait_until("the fetched key", has("fetched", ISSUER))
        assert _jwk(service)["issuers"][server.url] == {"autoRefresh": True, "caCertBundleName": "issuer"}
        counts = _metrics(service)
        assert counts["successes"] > 0
        assert counts["failures"] == 0

        server.keys = second.jwks("rolled")
        wait_until("the next key", has("rolled", second))
        assert "fetched" not in _jwk(service)["keys"]

        server.keys = {"foo": "bar"}
        wait_until("failures", lambda: _metrics(service)["failures"] > 0)
        assert has("rolled", second)()

        primary = service.primary()
        primary.kill()
        server.keys = ISSUER.jwks("fetched again")
        wait_until("the key from a new primary", has("fetched again", ISSUER), 30)
        assert _metrics(service)["failures"] == 0
        service.join()

    time.sleep(0.7)  # twice the interval without a server: no failure, and the keys stay
    assert _metrics(service)["failures"] == 0
    assert has("fetched again", ISSUER)()


def _metrics(service: Service) -> dict[str, int]:
    counts: dict[str, int] = service.session(service.primary()).get_json("/node/jwt_keys/refresh/metrics")
    return counts
