"""`mccf up` and `mccf down`: the control plane of this machine."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from knack.util import CLIError

from controlplane import settings as settings_module
from controlplane.parts import running_supervisor, serving
from controlplane.settings import InvalidSettings, Settings

UP_TIMEOUT_S = 60
POLL_S = 0.05
DOWN_TIMEOUT_S = 30.0


def up(data_dir: str | None = None, timeout: int = UP_TIMEOUT_S) -> dict[str, Any]:
    """Start the supervisor in the background and wait until every part serves."""
    settings = read_settings(data_dir, initialise=True)
    started = None if running_supervisor(settings) is not None else _spawn(settings)
    deadline = time.monotonic() + timeout
    while missing := [name for name, up in serving(settings).items() if not up]:
        advice = f"look into {settings.logs_dir}"
        if started is not None and started.poll() is not None:
            raise CLIError(f"the control plane ended with status {started.returncode}; {advice}")
        if time.monotonic() > deadline:
            raise CLIError(f"waited {timeout} s and these do not serve: {', '.join(missing)}; {advice}")
        time.sleep(POLL_S)
    return {
        "url": settings.base_url,
        "ca": str(settings.ca_file),
        "credentials": str(settings.credentials_file),
        "dataDirectory": str(settings.data_dir),
    }


def down(data_dir: str | None = None, nodes: bool = False) -> dict[str, Any]:
    """Stop the supervisor and its parts; with `nodes`, the nodes of all instances too."""
    settings = read_settings(data_dir)
    pid = running_supervisor(settings)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        _wait("the control plane to stop", DOWN_TIMEOUT_S, lambda: running_supervisor(settings) is None)
    stopped = _stop_nodes(settings) if nodes else 0
    return {"controlPlane": "stopped", "nodesStopped": stopped, "nodesRunning": len(_node_pids(settings))}


def read_settings(data_dir: str | None, *, initialise: bool = False) -> Settings:
    """The settings of an installation; raises `CLIError` when they cannot be used."""
    directory = None if data_dir is None else Path(data_dir)
    read = settings_module.initialise if initialise else settings_module.load
    try:
        return read(os.environ, directory)
    except InvalidSettings as error:
        raise CLIError(str(error)) from error


def _spawn(settings: Settings) -> "subprocess.Popen[bytes]":
    settings.logs_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (settings.logs_dir / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "controlplane.supervisor"],
            env={**os.environ, "MCCF_DATA_DIR": str(settings.data_dir)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=settings.data_dir,
        )


def _node_pids(settings: Settings) -> dict[int, Path]:
    """Living nodes of this installation: a pid counts only while its working directory is the node's."""
    found = {}
    for path in settings.instances_dir.glob("*/*/*/node.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(path.read_text(encoding="utf-8"))
            if Path(f"/proc/{pid}/cwd").readlink() == path.parent.resolve():
                found[pid] = path.parent
    return found


def _stop_nodes(settings: Settings) -> int:
    pids = list(_node_pids(settings))
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    _wait("the nodes to stop", DOWN_TIMEOUT_S, lambda: not _node_pids(settings))
    return len(pids)


def _wait(what: str, timeout_s: float, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise CLIError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(POLL_S)
