"""`az`, unmodified, against our cloud: the recipe of control-plane.md 6.5 and everyday commands of section 7."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.api_server import https_api
from tests.support.arm_world import SUBSCRIPTION, instance_body
from tests.support.tool_envs import tool_python

REQUIREMENTS = ("azure-cli==2.91.0",)
ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/azrg/providers/Microsoft.ConfidentialLedger/managedCCFs/azbank"
TYPE = "Microsoft.ConfidentialLedger/managedCCFs"


@dataclass(frozen=True, slots=True)
class Az:
    """`az` with a configuration of its own, so that nobody's real logins are touched."""

    program: Path
    environment: dict[str, str]
    credentials: dict[str, str]

    def __call__(self, *arguments: str) -> str:
        command = [str(self.program), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"az {' '.join(arguments[:2])}: {done.stderr[-2000:]}"
        return done.stdout


@pytest.fixture
def az(tmp_path: Path) -> Iterator[Az]:
    program = tool_python("azure-cli", REQUIREMENTS).with_name("az")
    with https_api(tmp_path / "data") as settings:
        environment = {
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "AZURE_CONFIG_DIR": str(tmp_path / "az"),
            "AZURE_CORE_COLLECT_TELEMETRY": "no",
            "REQUESTS_CA_BUNDLE": str(settings.ca_file),
        }
        credentials = json.loads(settings.credentials_file.read_text())
        signed_in = Az(program, environment, credentials)
        signed_in("cloud", "register", "-n", "MccfLocal", "--endpoint-resource-manager", settings.base_url)
        signed_in("cloud", "set", "-n", "MccfLocal")
        signed_in("config", "set", "core.instance_discovery=false")
        who = ("-u", credentials["client_id"], "-p", credentials["client_secret"])
        signed_in("login", "--service-principal", *who, "--tenant", credentials["tenant_id"])
        yield signed_in


@pytest.mark.full
def test_everyday_commands(az: Az, tmp_path: Path) -> None:
    az("group", "create", "-n", "azrg", "-l", "southcentralus")
    az("provider", "register", "-n", "Microsoft.ConfidentialLedger")
    az("feature", "registration", "create", "--namespace", "Microsoft.ConfidentialLedger", "--name", "ManagedCCF")

    properties = tmp_path / "properties.json"
    properties.write_text(json.dumps(instance_body()["properties"]))
    az("resource", "create", "-g", "azrg", "-n", "azbank", "--resource-type", TYPE, "--properties", f"@{properties}")
    shown = json.loads(az("resource", "show", "--ids", ID))
    assert shown["properties"]["provisioningState"] == "Succeeded"
    assert shown["properties"]["platform"]["label"] == "simulated"
    assert [row["name"] for row in json.loads(az("resource", "list"))] == ["azbank"]

    az("resource", "tag", "--ids", ID, "--tags", "a=b")
    az("resource", "update", "--ids", ID, "--set", "tags.c=d")
    assert json.loads(az("resource", "show", "--ids", ID))["tags"] == {"a": "b", "c": "d"}

    az("resource", "delete", "--ids", ID)
    assert json.loads(az("resource", "list")) == []
    az("group", "delete", "-n", "azrg", "--yes")
    assert az("group", "exists", "-n", "azrg").strip() == "false"
