"""`python -m controlplane.api`: serve the API over HTTPS until told to stop.

Everything it needs is made on first start: tables, the private CA, the signing key, the first principal.
"""

import logging
import os
import signal
import sys

import uvicorn

from controlplane import settings as settings_module
from controlplane.api.app import create_app
from controlplane.api.hints import Hints
from controlplane.api.services import utc_now
from controlplane.api.tls import ensure_server_tls
from controlplane.issuer.grants import ensure_first_principal
from controlplane.readiness import end_with_supervisor
from controlplane.settings import InvalidSettings
from controlplane.store.migrate import upgrade
from controlplane.store.session import open_database
from controlplane.telemetry import configure_logging
from controlplane.worker.celery_app import app as worker

GRACEFUL_STOP_S = 5
# Sent by name: the task's own module would bring the whole reconciler into this process.
RECONCILE_TASK = "mccf.reconcile"

_LOG = logging.getLogger("mccf.api")


def main() -> int:
    """Exit code 0 after a signal, 2 when the settings cannot be used."""
    end_with_supervisor()
    configure_logging()
    try:
        settings = settings_module.initialise(os.environ)
    except InvalidSettings as error:
        _LOG.error("invalid settings: %s", error)
        return 2
    database = open_database(settings.sqlalchemy_url)
    upgrade(database)
    tls = ensure_server_tls(settings, utc_now())
    if ensure_first_principal(database, settings, utc_now()):
        _LOG.info("first principal made; its credentials are in %s", settings.credentials_file)
    # The server stops by itself on these and raises them again afterwards; then there is still tidying up to do.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    hints = Hints(send_hint)
    hints.start()
    uvicorn.run(
        create_app(settings, notify=hints.notify, database=database),
        host=settings.host,
        port=settings.port,
        ssl_certfile=tls.certificate_file,
        ssl_keyfile=tls.key_file,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACEFUL_STOP_S,
    )
    hints.stop(GRACEFUL_STOP_S)
    database.close()
    return 0


def send_hint(instance_id: str) -> None:
    """Ask a worker to look at an instance. Raises what the broker's client raises."""
    worker.send_task(RECONCILE_TASK, args=[instance_id])


if __name__ == "__main__":
    sys.exit(main())
