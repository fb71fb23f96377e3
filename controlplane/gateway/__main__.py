"""`python -m controlplane.gateway`: the stable addresses of every instance, following the database."""

import asyncio
import logging
import os
import signal
import sys

import uvloop
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from controlplane import settings as settings_module
from controlplane.gateway.forward import Gateway
from controlplane.gateway.routes import NodeRow, RouteTable, build
from controlplane.readiness import say_ready
from controlplane.settings import InvalidSettings, Settings
from controlplane.store.session import Database, open_database
from controlplane.store.tables import Instance, Node
from controlplane.telemetry import configure_logging

POLL_S = 0.1

_log = logging.getLogger("mccf.gateway")


def main() -> int:
    """Exit code 0 after a signal, 2 when the settings cannot be used."""
    configure_logging()
    try:
        settings = settings_module.load(os.environ)
    except InvalidSettings as error:
        _log.error("invalid settings: %s", error)
        return 2
    uvloop.run(serve(settings))
    return 0


async def serve(settings: Settings) -> None:
    """Forward until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    database = open_database(settings.sqlalchemy_url)
    gateway = Gateway(settings.instance_host)
    ready = False
    while not stop.is_set():
        table = await asyncio.to_thread(read_routes, database)
        if table is not None:
            await gateway.follow(table)
            if not ready:
                say_ready(settings, "gateway")
                ready = True
        try:
            await asyncio.wait_for(stop.wait(), POLL_S)
        except TimeoutError:
            continue
    await gateway.close()
    database.close()


def read_routes(database: Database) -> RouteTable | None:
    """The routes as the reconciler last wrote them; None while the database cannot be read, and the old ones hold."""
    try:
        with database.read() as session:
            ports = session.scalars(select(Instance.gateway_port).where(Instance.gateway_port.is_not(None)))
            query = select(Node.instance_id, Instance.gateway_port, Node.state, Node.rpc_address)
            rows = session.execute(query.join(Instance, Instance.id == Node.instance_id)).all()
            return build([NodeRow(*row) for row in rows], [port for port in ports if port is not None])
    except SQLAlchemyError as error:
        _log.warning("the routes cannot be read: %s", type(error).__name__)
        return None


if __name__ == "__main__":
    sys.exit(main())
