"""`mccf up`: broker, API, worker and gateway as child processes of one supervisor (decisions 17).

    python -m controlplane.supervisor

A part that ends is started again, with growing pauses. The supervisor holds an exclusive lock on `run/supervisor.lock`
for as long as it lives, so two never run on one data directory, and a stale pid is never mistaken for a living one.
The parts end with it, however it ends; nodes are not its children and go on when the control plane stops.
"""

import asyncio
import fcntl
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from controlplane import settings as settings_module
from controlplane.parts import Part, lock_file, parts, parts_file
from controlplane.readiness import SUPERVISED
from controlplane.settings import InvalidSettings, Settings, write_private
from controlplane.store.migrate import upgrade
from controlplane.store.session import open_database
from controlplane.telemetry import configure_logging

FIRST_PAUSE_S = 0.2
LAST_PAUSE_S = 10.0
STEADY_S = 10.0  # a part that ran this long starts with the first pause again
STOP_TIMEOUT_S = 8.0
START_TIMEOUT_S = 20.0

_LOG = logging.getLogger("mccf.supervisor")


class AlreadyRunning(Exception):
    """Another supervisor owns the data directory."""


def main() -> int:
    """Exit code 0 after a signal, 1 when another one runs, 2 when the settings cannot be used."""
    configure_logging()
    try:
        settings = settings_module.initialise(os.environ)
        with _only_one(settings):
            asyncio.run(_supervise(settings))
    except InvalidSettings as error:
        _LOG.error("%s", error)
        return 2
    except AlreadyRunning as error:
        _LOG.error("%s", error)
        return 1
    return 0


async def _supervise(settings: Settings) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    settings.logs_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    pids: dict[str, int] = {}
    keepers: list[tuple[asyncio.Event, asyncio.Task[None]]] = []
    _make_tables(settings)
    for part in parts(settings):
        told = asyncio.Event()
        keepers.append((told, asyncio.create_task(_keep(settings, part, pids, told))))
        if part.name == "broker":
            await _first_start(part, pids, stopping)  # the others begin by connecting to it
    await stopping.wait()
    # The broker last: a worker that ends its work still speaks to it.
    for group in (keepers[1:], keepers[:1]):
        for told, _ in group:
            told.set()
        await asyncio.gather(*(keeper for _, keeper in group))
    parts_file(settings).unlink(missing_ok=True)


def _make_tables(settings: Settings) -> None:
    """Before anything runs, so that no part has to wait for another's migration."""
    database = open_database(settings.sqlalchemy_url)
    upgrade(database)
    database.close()


async def _first_start(part: Part, pids: Mapping[str, int], stopping: asyncio.Event) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not stopping.is_set() and time.monotonic() < deadline:
        if part.name in pids and part.serves(pids[part.name]):
            return
        await asyncio.sleep(0.05)
    _LOG.warning("%s does not serve yet", part.name)


async def _keep(settings: Settings, part: Part, pids: dict[str, int], stopping: asyncio.Event) -> None:
    """Run one part until told to stop; start it again whenever it ends."""
    pause_s = FIRST_PAUSE_S
    environment = {**os.environ, SUPERVISED: str(os.getpid())}
    while not stopping.is_set():
        began = time.monotonic()
        with (settings.logs_dir / f"{part.name}.log").open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                *part.command, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL, env=environment
            )
        pids[part.name] = child.pid
        write_private(parts_file(settings), json.dumps(pids))
        await _until_either(child, stopping)
        if child.returncode is None:
            await _stop(child)
            return
        _LOG.warning("%s ended with status %s", part.name, child.returncode)
        pause_s = FIRST_PAUSE_S if time.monotonic() - began > STEADY_S else min(2 * pause_s, LAST_PAUSE_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), pause_s)


async def _until_either(child: asyncio.subprocess.Process, stopping: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(child.wait()), asyncio.ensure_future(stopping.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _stop(child: asyncio.subprocess.Process) -> None:
    child.terminate()
    try:
        await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        child.kill()
        await child.wait()


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    path = lock_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"a control plane runs on {settings.data_dir} already") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


if __name__ == "__main__":
    sys.exit(main())
