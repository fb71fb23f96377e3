"""A control plane in this process: its own data directory, a recorded hint instead of a broker, a clock to turn."""

import asyncio
import atexit
import json
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from httpx import ASGITransport, AsyncClient, Response

from controlplane.api.app import create_app, make_issuer
from controlplane.issuer.grants import ensure_first_principal
from controlplane.issuer.tokens import load_or_create_key
from controlplane.settings import Settings
from controlplane.store import lease, outcome, queries
from controlplane.store.migrate import upgrade
from controlplane.store.session import Database, open_database

TENANT = "11111111-1111-4111-8111-111111111111"
SUBSCRIPTION = "22222222-2222-4222-8222-222222222222"
OBJECT_ID = "66666666-6666-4666-8666-666666666666"
VERSION = "2024-09-19-preview"
INSTANCE_VERSION = "2026-01-01-preview"
HOST = "https://localhost:8443"
GROUPS = f"/subscriptions/{SUBSCRIPTION}/resourceGroups"
PROVIDER = "providers/Microsoft.ConfidentialLedger"


class AppClient:
    """Plain calls into an ASGI application, which runs on an event loop in a thread of its own."""

    def __init__(self, app: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client = AsyncClient(transport=ASGITransport(app, raise_app_exceptions=False), base_url=HOST)

    def request(self, method: str, url: str, **options: Any) -> Response:
        return asyncio.run_coroutine_threadsafe(self._client.request(method, url, **options), self._loop).result(60)

    def get(self, url: str, **options: Any) -> Response:
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> Response:
        return self.request("POST", url, **options)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass(slots=True)
class World:
    """One installation under test."""

    settings: Settings
    database: Database
    client: AppClient
    hints: list[str]
    now: list[datetime] = field(default_factory=lambda: [datetime.now(UTC)])
    token: str = ""

    def call(self, method: str, path: str, body: Any = None, version: str | None = VERSION, **options: Any) -> Response:
        """An authenticated request; `headers` and `params` are added to the usual ones."""
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        params = ({} if version is None else {"api-version": version}) | options.pop("params", {})
        if params:  # none at all leaves the query of `path` alone
            options["params"] = params
        if body is not None:
            options["json"] = body
        return self.client.request(method, path, headers=headers, **options)

    def make_group(self, name: str = "rg1") -> str:
        answer = self.call("PUT", f"{GROUPS}/{name}", {"location": "southcentralus"}, "2024-11-01")
        assert answer.status_code in (200, 201), answer.text
        return f"{GROUPS}/{name}"

    def instance_path(self, name: str = "bank", group: str = "rg1") -> str:
        return f"{GROUPS}/{group}/{PROVIDER}/managedCCFs/{name}"

    def make_instance(self, name: str = "bank", group: str = "rg1", **changes: Any) -> Response:
        self.make_group(group)
        return self.call("PUT", self.instance_path(name, group), instance_body(**changes))

    def settle(self, name: str = "bank", error: dict[str, Any] | None = None) -> None:
        """Play the reconciler's part for one instance: bring it about, or fail with `error`."""
        settle(self.database, name, self.now[0], error)

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything the database holds, to compare before and after."""
        with self.database.engine.connect() as connection:
            return {
                table: [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1")]
                for table in ("resource_groups", "instances", "nodes", "operations", "events", "registrations")
            }


def settle(database: Database, name: str, now: datetime, error: dict[str, Any] | None = None) -> bool:
    """Take the lease of an instance, end its operation, and give the lease back."""
    token = str(uuid.uuid4())
    with database.write() as session:
        instance = queries.instance_by_name(session, name)
        if instance is None or not lease.take(session, instance.id, token, now, 10_000):
            return False
        session.refresh(instance)
        if error is not None:
            assert outcome.fail(session, instance.id, token, instance.generation, now, error)
        elif instance.delete_requested:
            return outcome.gone(session, instance.id, token, now)
        else:
            observed = {
                "app_uri": "https://127.0.0.1:9000",
                "identity_service_uri": f"{HOST}/ledgerIdentity/{instance.name}",
                "service_certificate": member_certificate("service"),
                "service_state": "Opening",
                "waiting_for_members": ["ab" * 32],
                "due_at": None,
            }
            assert outcome.succeed(session, instance.id, token, instance.generation, now, observed)
        lease.release(session, instance.id, token)
    return True


@contextmanager
def world(
    data_dir: Path, url: str = "", notify: Callable[[str], None] | None = None, **settings: Any
) -> Iterator[World]:
    """Start an installation, sign in as its first principal, and stop it at the end."""
    shutil.copytree(_first_start(), data_dir, dirs_exist_ok=True)
    config = _settings(data_dir, database_url=url, **settings)
    database = open_database(config.sqlalchemy_url)
    hints: list[str] = []
    now = [datetime.now(UTC)]
    client = AppClient(create_app(config, notify=notify or hints.append, database=database, clock=lambda: now[0]))
    try:
        yield World(config, database, client, hints, now, _token(config))
    finally:
        client.close()
        database.close()


@cache
def _first_start() -> Path:
    """A data directory as a first start leaves it, made once per process because its keys and hashes take long."""
    directory = Path(tempfile.mkdtemp(prefix="mccf-template-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    settings = _settings(directory)
    database = open_database(settings.sqlalchemy_url)
    upgrade(database)
    ensure_first_principal(database, settings, datetime.now(UTC))
    load_or_create_key(settings.issuer_keys_file)
    database.close()
    return directory


def _settings(data_dir: Path, **changes: Any) -> Settings:
    return Settings(data_dir, tenant_id=TENANT, subscription_id=SUBSCRIPTION, public_url=HOST, **changes)


def _token(settings: Settings) -> str:
    """A token as the first principal would get it, without the cost of asking."""
    client_id = json.loads(settings.credentials_file.read_text())["client_id"]
    audience = "https://management.azure.com/"
    now = datetime.now(UTC)
    return make_issuer(settings).access_token(app_id=client_id, object_id=OBJECT_ID, audience=audience, now=now)


def sign_in(settings: Settings, client: Any) -> str:
    """An access token for the first principal, by the client credentials grant."""
    credentials = json.loads(settings.credentials_file.read_text())
    form = {
        "grant_type": "client_credentials",
        "client_id": credentials["client_id"],
        "client_secret": credentials["client_secret"],
        "scope": "https://management.azure.com//.default",
    }
    answer = client.post(f"/{settings.tenant_id}/oauth2/v2.0/token", data=form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def instance_body(**properties: Any) -> dict[str, Any]:
    """A PUT's body; keyword arguments replace properties, `location` and `tags` the top level's members."""
    top = {name: properties.pop(name) for name in ("location", "tags") if name in properties}
    defaults = {
        "nodeCount": 3,
        "deploymentType": {"languageRuntime": "JS", "appSourceUri": "customImage"},
        "memberIdentityCertificates": [member("alice")],
    }
    return {"location": "southcentralus", "tags": {"costcenter": "77"}, "properties": defaults | properties} | top


def member(name: str) -> dict[str, Any]:
    return {
        "certificate": member_certificate(name),
        "encryptionkey": encryption_key(),
        "tags": {"identifier": name, "group": "finance"},
    }


@cache
def member_certificate(name: str) -> str:
    """A self-signed P-384 certificate, as members make them (control-plane.md 9)."""
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3650))
        .sign(key, hashes.SHA384())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@cache
def encryption_key(bits: int = 2048) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
