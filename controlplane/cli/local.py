"""`mccf up`, `down` and `status`: the control plane of this machine."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from knack.util import CLIError

from controlplane import settings as settings_module
from controlplane import supervisor
from controlplane.settings import InvalidSettings, Settings

UP_TIMEOUT_S = 40.0
DOWN_TIMEOUT_S = 30.0
API_VERSION = "2024-09-19-preview"


def up(data_dir: str | None = None) -> dict[str, Any]:
    """Start the supervisor in the background and wait until every part serves."""
    settings = _settings(data_dir, initialise=True)
    if supervisor.running_supervisor(settings) is None:
        _spawn(settings)
    _wait(
        "the control plane to serve",
        UP_TIMEOUT_S,
        lambda: all(supervisor.serving(settings, part.name) for part in supervisor.parts(settings)),
        f"look into {settings.logs_dir}",
    )
    return {
        "url": settings.base_url,
        "ca": str(settings.ca_file),
        "credentials": str(settings.credentials_file),
        "dataDirectory": str(settings.data_dir),
    }


def down(data_dir: str | None = None, nodes: bool = False) -> dict[str, Any]:
    """Stop the supervisor and its parts; with `nodes`, the nodes of all instances too."""
    settings = _settings(data_dir)
    pid = supervisor.running_supervisor(settings)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        _wait("the control plane to stop", DOWN_TIMEOUT_S, lambda: supervisor.running_supervisor(settings) is None)
    stopped = _stop_nodes(settings) if nodes else 0
    return {"controlPlane": "stopped", "nodesStopped": stopped, "nodesRunning": len(_node_pids(settings))}


def status(data_dir: str | None = None) -> dict[str, Any]:
    """Every part and every instance. Ends non-zero when a part is down."""
    settings = _settings(data_dir)
    serving = {name: supervisor.serving(settings, name) for name in supervisor.PARTS}
    if settings.broker_url:
        del serving["broker"]
    result: dict[str, Any] = {"parts": {name: "running" if up else "down" for name, up in serving.items()}}
    if serving["api"]:
        result["instances"] = _instances(settings)
    if not all(serving.values()):
        print(json.dumps(result, indent=2))
        raise CLIError(f"not running: {', '.join(name for name, up in serving.items() if not up)}. Try: mccf up")
    return result


def _settings(data_dir: str | None, *, initialise: bool = False) -> Settings:
    directory = None if data_dir is None else Path(data_dir)
    read = settings_module.initialise if initialise else settings_module.load
    try:
        return read(os.environ, directory)
    except InvalidSettings as error:
        raise CLIError(str(error)) from error


def _spawn(settings: Settings) -> None:
    settings.logs_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (settings.logs_dir / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "controlplane.supervisor"],
            env={**os.environ, "MCCF_DATA_DIR": str(settings.data_dir)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=settings.data_dir,
        )


def _instances(settings: Settings) -> list[dict[str, Any]]:
    credentials = json.loads(settings.credentials_file.read_text(encoding="utf-8"))
    trust = ssl.create_default_context(cafile=credentials["ca_file"])
    base = f"https://{settings.host}:{settings.port}"
    with httpx.Client(verify=trust, timeout=10, base_url=base, trust_env=False) as client:
        answer = client.post(
            f"/{credentials['tenant_id']}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": credentials["client_id"],
                "client_secret": credentials["client_secret"],
                "scope": "https://management.azure.com/.default",
            },
        ).raise_for_status()
        client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        path = f"/subscriptions/{credentials['subscription_id']}/providers/Microsoft.ConfidentialLedger/managedCCFs/"
        listed = client.get(path, params={"api-version": API_VERSION}).raise_for_status().json()["value"]
    return [_summary(row["name"], row["properties"]) for row in listed]


def _summary(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "provisioningState": properties["provisioningState"],
        "runningState": properties.get("runningState"),
        "service": properties.get("serviceState"),
        "waitingForMembers": properties.get("waitingForMembers") or [],
        "appUri": properties.get("appUri"),
        "platform": properties["platform"]["label"],
    }


def _node_pids(settings: Settings) -> dict[int, Path]:
    """Living nodes of this installation: a pid counts only while its working directory is the node's."""
    found = {}
    for path in settings.instances_dir.glob("*/*/*/node.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(path.read_text(encoding="utf-8"))
            if Path(os.readlink(f"/proc/{pid}/cwd")) == path.parent:
                found[pid] = path.parent
    return found


def _stop_nodes(settings: Settings) -> int:
    pids = list(_node_pids(settings))
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    _wait("the nodes to stop", DOWN_TIMEOUT_S, lambda: not _node_pids(settings))
    return len(pids)


def _wait(what: str, timeout_s: float, done: Callable[[], bool], advice: str = "") -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise CLIError(f"waited {timeout_s:.0f} s for {what}" + (f"; {advice}" if advice else ""))
        time.sleep(0.05)
