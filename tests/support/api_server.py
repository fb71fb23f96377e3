"""The API over HTTPS in a thread of this process, with a reconciler that brings everything about at once."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from controlplane.api.app import create_app
from controlplane.api.tls import ensure_server_tls
from controlplane.issuer.grants import ensure_first_principal
from controlplane.settings import Settings
from controlplane.store import queries
from controlplane.store.migrate import upgrade
from controlplane.store.session import Database, open_database
from tests.support.arm_world import SUBSCRIPTION, TENANT, settle, sign_in
from tests.support.ports import free_port

START_TIMEOUT_S = 20
SETTLE_EVERY_S = 0.1


@contextmanager
def https_api(data_dir: Path, **settings: Any) -> Iterator[Settings]:
    """An installation that answers at `settings.base_url`; its credentials and CA are in the data directory."""
    options = {"tenant_id": TENANT, "subscription_id": SUBSCRIPTION, "port": free_port()} | settings
    config = Settings(data_dir=data_dir, **options)
    data_dir.mkdir(parents=True, exist_ok=True)
    database = open_database(config.sqlalchemy_url)
    upgrade(database)
    ensure_first_principal(database, config, _now())
    tls = ensure_server_tls(config, _now())
    app = create_app(config, notify=lambda _id: None, database=database)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=config.port,
            ssl_certfile=tls.certificate_file,
            ssl_keyfile=tls.key_file,
            log_config=None,
            lifespan="off",
        )
    )
    stop = threading.Event()
    threads = [threading.Thread(target=server.run), threading.Thread(target=_settle_all, args=(database, stop))]
    for thread in threads:
        thread.start()
    try:
        _wait_until_started(server)
        yield config
    finally:
        server.should_exit = True
        stop.set()
        for thread in threads:
            thread.join()
        database.close()


@contextmanager
def signed_in(settings: Settings) -> Iterator[httpx.Client]:
    """A client of a running installation that trusts its CA and sends the first principal's token."""
    trust = ssl.create_default_context(cafile=settings.ca_file)
    with httpx.Client(base_url=settings.base_url, verify=trust) as client:
        client.headers["Authorization"] = f"Bearer {sign_in(settings, client)}"
        yield client


def _settle_all(database: Database, stop: threading.Event) -> None:
    while not stop.wait(SETTLE_EVERY_S):
        with database.read() as session:
            names = [row.name for row in queries.instances_of_subscription(session, SUBSCRIPTION) if row.due_at]
        for name in names:
            settle(database, name, _now())


def _wait_until_started(server: uvicorn.Server) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not server.started:
        assert time.monotonic() < deadline_s, "the API did not start"
        time.sleep(0.02)


def _now() -> datetime:
    return datetime.now(UTC)
