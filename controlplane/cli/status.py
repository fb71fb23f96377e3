"""`mccf status`: what runs, asked of the parts themselves and of the public API."""

import json
import ssl
from typing import Any

import httpx
from knack.util import CLIError

from controlplane.cli.local import read_settings
from controlplane.parts import serving
from controlplane.settings import Settings

API_VERSION = "2024-09-19-preview"
NODES_VERSION = "2026-01-01-preview"
TYPE = "Microsoft.ConfidentialLedger/managedCCFs"


def status(data_dir: str | None = None) -> dict[str, Any]:
    """Every part and every instance. Ends non-zero, after printing them, when anything is down."""
    settings = read_settings(data_dir)
    parts = serving(settings)
    result: dict[str, Any] = {"parts": {name: "running" if up else "down" for name, up in parts.items()}}
    down = [name for name, up in parts.items() if not up]
    advice = "Try: mccf up" if down else "The control plane replaces dead nodes; see the instance's events."
    if parts["api"]:
        result["instances"] = _instances(settings)
        down += [what for instance in result["instances"] for what in missing(instance)]
    if down:
        print(json.dumps(result, indent=2))
        raise CLIError(f"down: {', '.join(down)}. {advice}")
    return result


def missing(instance: dict[str, Any]) -> list[str]:
    """What an instance's summary says is down; an operation that is still running is not a fault."""
    name, state = instance["name"], instance["provisioningState"]
    if state == "Failed":
        return [f"instance {name} (its last operation failed)"]
    if state != "Succeeded":
        return []
    if instance["runningState"] == "Unknown":
        return [f"instance {name} (it has lost its quorum)"]
    running, wanted = instance["nodes"]["running"], instance["nodes"]["wanted"]
    return [f"{wanted - running} of {wanted} nodes of instance {name}"] if running < wanted else []


def _instances(settings: Settings) -> list[dict[str, Any]]:
    credentials = json.loads(settings.credentials_file.read_text(encoding="utf-8"))
    trust = ssl.create_default_context(cafile=credentials["ca_file"])
    base = f"https://{settings.host}:{settings.port}"
    with httpx.Client(verify=trust, timeout=10, base_url=base, trust_env=False) as client:
        try:
            client.headers["authorization"] = f"Bearer {_token(client, credentials)}"
            path = f"/subscriptions/{credentials['subscription_id']}/providers/{TYPE}/"
            return [_summary(client, row) for row in _get(client, path, API_VERSION)]
        except httpx.HTTPError as error:
            raise CLIError(f"the API does not answer as it should: {error}") from error


def _token(client: httpx.Client, credentials: dict[str, str]) -> str:
    answer = client.post(
        f"/{credentials['tenant_id']}/oauth2/v2.0/token",
        data={
            "grant_type": "client_credentials",
            "client_id": credentials["client_id"],
            "client_secret": credentials["client_secret"],
            "scope": "https://management.azure.com/.default",
        },
    )
    return str(answer.raise_for_status().json()["access_token"])


def _get(client: httpx.Client, path: str, version: str) -> list[dict[str, Any]]:
    """Every page of a list."""
    rows: list[dict[str, Any]] = []
    answer = client.get(path, params={"api-version": version}).raise_for_status().json()
    rows += answer["value"]
    while answer.get("nextLink"):
        answer = client.get(answer["nextLink"]).raise_for_status().json()
        rows += answer["value"]
    return rows


def _summary(client: httpx.Client, row: dict[str, Any]) -> dict[str, Any]:
    properties = row["properties"]
    nodes = _get(client, f"{row['id']}/providers/Mccf.Instances/nodes", NODES_VERSION)
    running = sum(node.get("state") == "Running" for node in nodes)
    return {
        "name": row["name"],
        "provisioningState": properties["provisioningState"],
        "runningState": properties.get("runningState"),
        "service": properties.get("serviceState"),
        "waitingForMembers": properties.get("waitingForMembers") or [],
        "nodes": {"running": running, "wanted": properties["nodeCount"]},
        "appUri": properties.get("appUri"),
        "platform": properties["platform"]["label"],
    }
