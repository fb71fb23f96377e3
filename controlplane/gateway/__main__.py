"""`python -m controlplane.gateway`: the stable addresses of all instances of this installation."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping

import uvloop

from controlplane import settings as settings_module
from controlplane.gateway.forward import Gateway
from controlplane.gateway.routes import Route, parse_address
from controlplane.readiness import end_with_supervisor, say_ready
from controlplane.settings import InvalidSettings, Settings
from controlplane.store import queries
from controlplane.store.session import Database, open_database
from controlplane.telemetry import configure_logging

_LOG = logging.getLogger("mccf.gateway")


def main() -> int:
    """Exit code 0 after a signal, 2 when the settings cannot be used."""
    end_with_supervisor()
    configure_logging()
    try:
        settings = settings_module.load(os.environ)
    except InvalidSettings as error:
        _LOG.error("invalid settings: %s", error)
        return 2
    uvloop.run(_serve(settings))
    return 0


def read_routes(database: Database) -> Mapping[int, Route]:
    """Every instance that has a port, with its running nodes."""
    with database.read() as session:
        routes = {}
        for instance in queries.routed_instances(session):
            assert instance.gateway_port is not None
            running = tuple(
                parse_address(node.rpc_address)
                for node in queries.nodes_of_instance(session, instance.id)
                if node.state == "Running" and node.rpc_address is not None
            )
            routes[instance.gateway_port] = Route(instance.gateway_port, running)
        return routes


async def _serve(settings: Settings) -> None:
    database = open_database(settings.sqlalchemy_url)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    gateway = Gateway(settings.instance_host, lambda: read_routes(database))
    await gateway.refresh()
    say_ready(settings, "gateway")
    await gateway.run(stopping)
    database.close()


if __name__ == "__main__":
    sys.exit(main())
