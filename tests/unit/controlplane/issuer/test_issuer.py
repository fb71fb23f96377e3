"""Tokens and the client credentials grant (control-plane.md 6.2)."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from controlplane.api.app import make_issuer
from controlplane.issuer.grants import GrantError, add_principal, ensure_first_principal, grant
from controlplane.issuer.tokens import InvalidToken, Issuer, load_or_create_key, principal_of
from controlplane.settings import Settings
from controlplane.store import queries
from controlplane.store.migrate import upgrade
from controlplane.store.session import Database, open_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANT = "11111111-1111-4111-8111-111111111111"
AUDIENCE = "https://management.azure.com/"
APP = "44444444-4444-4444-8444-444444444444"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, tenant_id=TENANT)


@pytest.fixture
def issuer(settings: Settings) -> Issuer:
    return make_issuer(settings)


@pytest.fixture
def database(settings: Settings) -> Any:
    database = open_database(settings.sqlalchemy_url)
    upgrade(database)
    yield database
    database.close()


def token_of(issuer: Issuer, **changes: Any) -> str:
    return issuer.access_token(**({"app_id": APP, "object_id": "oid", "audience": AUDIENCE, "now": NOW} | changes))


def test_a_token_names_its_application(issuer: Issuer) -> None:
    principal = issuer.verify(token_of(issuer), NOW)
    assert (principal.object_id, principal.name, principal.kind) == ("oid", APP, "Application")


def test_the_published_key_verifies_a_token(issuer: Issuer) -> None:
    (key,) = issuer.jwks()["keys"]
    token = token_of(issuer)
    assert jwt.get_unverified_header(token)["kid"] == key["kid"]
    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    claims = jwt.decode(token, jwt.PyJWK(key).key, algorithms=["RS256"], audience=AUDIENCE, options=options)
    assert claims["tid"] == TENANT
    assert claims["exp"] - claims["nbf"] == issuer.lifetime_s


def test_tokens_that_are_refused(issuer: Issuer, tmp_path: Path) -> None:
    other = replace(issuer, key=load_or_create_key(tmp_path / "other.json"))
    head, body, _ = token_of(issuer).split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    spki = issuer.key.private_key.public_key()
    codes = {
        "another key": (token_of(other), "InvalidAuthenticationToken"),
        "no signature": (f"{head}.{body}.", "InvalidAuthenticationToken"),
        "alg none": (f"{none}.{body}.", "InvalidAuthenticationToken"),
        "no token": ("rubbish", "InvalidAuthenticationToken"),
        "another audience": (token_of(issuer, audience="https://other/"), "InvalidAuthenticationTokenAudience"),
        "another issuer": (token_of(replace(issuer, issuer="https://other")), "InvalidAuthenticationToken"),
        "another tenant": (token_of(replace(issuer, tenant_id="other")), "InvalidAuthenticationTokenTenant"),
        "expired": (token_of(issuer, now=NOW - timedelta(hours=2)), "ExpiredAuthenticationToken"),
        "from the future": (token_of(issuer, now=NOW + timedelta(hours=2)), "InvalidAuthenticationToken"),
        "a symmetric forgery": (
            jwt.encode({"aud": AUDIENCE}, str(spki.public_numbers().n), algorithm="HS256"),
            "InvalidAuthenticationToken",
        ),
    }
    for what, (token, code) in codes.items():
        with pytest.raises(InvalidToken) as refused:
            issuer.verify(token, NOW)
        assert refused.value.code == code, what


def test_users_are_told_from_applications() -> None:
    assert principal_of({"oid": "o", "upn": "a@b"}).kind == "User"
    assert principal_of({"oid": "o", "appid": "x", "idtyp": "app"}).name == "x"
    assert principal_of({"oid": "o", "preferred_username": "a@b", "idtyp": "app", "appid": "x"}).kind == "Application"


def test_the_key_is_made_once_in_a_private_file(settings: Settings) -> None:
    first = load_or_create_key(settings.issuer_keys_file)
    assert load_or_create_key(settings.issuer_keys_file).key_id == first.key_id
    assert (settings.issuer_keys_file.stat().st_mode & 0o777) == 0o600


def test_the_first_principal_is_made_once_and_its_secret_is_only_in_its_file(
    settings: Settings, database: Database
) -> None:
    assert ensure_first_principal(database, settings, NOW)
    assert not ensure_first_principal(database, settings, NOW)
    assert (settings.credentials_file.stat().st_mode & 0o777) == 0o600
    secret = json.loads(settings.credentials_file.read_text())["client_secret"]
    with database.write() as session:
        session.connection().exec_driver_sql("SELECT 1")
    files = [path for path in settings.data_dir.rglob("*") if path.is_file() and path != settings.credentials_file]
    assert any(path.name.startswith("mccf.db") for path in files)
    assert not any(secret.encode() in path.read_bytes() for path in files)


def form(**changes: str) -> dict[str, str]:
    fields = {
        "grant_type": "client_credentials",
        "client_id": APP,
        "client_secret": "open sesame",
        "scope": "https://management.core.windows.net//.default",
    }
    return {name: value for name, value in (fields | changes).items() if value}


def ask(database: Database, issuer: Issuer, fields: dict[str, str], authorization: str | None = None) -> Any:
    with database.read() as session:
        return grant(session, issuer, fields, authorization, NOW)


@pytest.fixture
def known(database: Database) -> Database:
    with database.write() as session:
        add_principal(session, APP, "open sesame", "test", NOW)
    return database


@pytest.mark.parametrize(
    "scope",
    [
        "https://management.core.windows.net//.default",
        "https://management.core.windows.net/.default",
        "https://management.azure.com/.default openid",
        "https://localhost:8443/.default",
    ],
)
def test_scopes_that_mean_the_resource_manager(known: Database, issuer: Issuer, scope: str) -> None:
    answer = ask(known, issuer, form(scope=scope))
    assert issuer.verify(answer["access_token"], NOW).name == APP
    assert answer["expires_in"] == 3599


def test_credentials_by_http_basic_and_a_resource_instead_of_a_scope(known: Database, issuer: Issuer) -> None:
    basic = "Basic " + base64.b64encode(f"{APP}:open+sesame".encode()).decode()
    fields = form(client_id="", client_secret="", scope="", resource="https://management.azure.com")
    assert ask(known, issuer, fields, basic)["token_type"] == "Bearer"


@pytest.mark.parametrize(
    ("changes", "error", "number"),
    [
        ({"grant_type": ""}, "invalid_request", 900144),
        ({"grant_type": "password"}, "unsupported_grant_type", 70003),
        ({"client_id": ""}, "invalid_request", 900144),
        ({"client_id": "55555555-5555-4555-8555-555555555555"}, "invalid_client", 700016),
        ({"client_secret": ""}, "invalid_client", 7000216),
        ({"client_secret": "open sesam"}, "invalid_client", 7000215),
        ({"scope": ""}, "invalid_scope", 1002012),
        ({"scope": "https://graph.microsoft.com/.default"}, "invalid_resource", 500011),
    ],
)
def test_requests_that_are_refused(
    known: Database, issuer: Issuer, changes: dict[str, str], error: str, number: int
) -> None:
    with pytest.raises(GrantError) as refused:
        ask(known, issuer, form(**changes))
    assert (refused.value.error, refused.value.number) == (error, number)
    assert "sesam" not in refused.value.description


def test_an_unreadable_basic_header(known: Database, issuer: Issuer) -> None:
    with pytest.raises(GrantError):
        ask(known, issuer, form(), "Basic !!!")


def test_only_a_hash_is_stored(known: Database) -> None:
    with known.read() as session:
        row = queries.principal(session, APP)
        assert row is not None
        assert "sesame" not in json.dumps([row.secret_hash, row.secret_salt])
