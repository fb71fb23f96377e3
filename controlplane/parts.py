"""The parts of a control plane on one machine, and how to see from outside which of them run.

Light on purpose: the command line asks here. What runs them is `controlplane.supervisor`.
"""

import fcntl
import json
import os
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from controlplane.readiness import is_ready
from controlplane.settings import Settings
from controlplane.worker.broker import socket_path

_PROBE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """One child process: what to run, and how to see that the process of that pid serves."""

    name: str
    command: tuple[str, ...]
    serves: Callable[[int], bool]


def parts(settings: Settings) -> tuple[Part, ...]:
    """What a supervisor of this installation runs, in the order of starting."""
    own = (
        Part("api", _module("api"), lambda _: _answers_tls(settings)),
        Part("worker", _module("worker"), lambda pid: is_ready(settings, "worker", pid)),
        Part("gateway", _module("gateway"), lambda pid: is_ready(settings, "gateway", pid)),
    )
    if settings.broker_url:
        return own  # a broker of one's own needs no other
    return (Part("broker", _module("worker.broker"), lambda _: _listens(socket_path(settings))), *own)


def running_supervisor(settings: Settings) -> int | None:
    """The pid of the supervisor of this data directory, None when none runs."""
    path = lock_file(settings)
    if not path.exists():
        return None
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read() or 0) or None
        return None


def running_parts(settings: Settings) -> Mapping[str, int]:
    """Pids of the parts the supervisor last started, by name."""
    with suppress(FileNotFoundError):
        pids: dict[str, int] = json.loads(parts_file(settings).read_text(encoding="utf-8"))
        return pids
    return {}


def serving(settings: Settings) -> Mapping[str, bool]:
    """For each part, whether it runs and serves."""
    pids = running_parts(settings) if running_supervisor(settings) is not None else {}
    return {
        part.name: part.name in pids and _exists(pids[part.name]) and part.serves(pids[part.name])
        for part in parts(settings)
    }


def lock_file(settings: Settings) -> Path:
    """Held by the supervisor for as long as it lives; its text is the pid."""
    return settings.data_dir / "run" / "supervisor.lock"


def parts_file(settings: Settings) -> Path:
    return settings.data_dir / "run" / "parts.json"


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"controlplane.{name}")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        with suppress(OSError):
            probe.connect(str(path))
            return True
    return False


def _answers_tls(settings: Settings) -> bool:
    """Whether the port answers under our own CA: anyone may have taken the port."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    with suppress(OSError):  # includes every failure of TLS, and a CA that is not made yet
        context = ssl.create_default_context(cafile=str(settings.ca_file))
        with (
            socket.create_connection((host, settings.port), _PROBE_TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return True
    return False
