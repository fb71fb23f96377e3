"""`azure-mgmt-confidentialledger` 2.0.0b5, unpatched, over HTTPS with our CA (control-plane.md 0, 3.3, 6.4)."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from controlplane.settings import Settings
from tests.support.api_server import https_api, signed_in
from tests.support.arm_world import GROUPS, member_certificate
from tests.support.tool_envs import tool_python

REQUIREMENTS = ("azure-mgmt-confidentialledger==2.0.0b5", "azure-identity==1.25.1", "azure-core")
SCRIPT = Path(__file__).parent / "azure_sdk_client.py"


@pytest.mark.ci
def test_the_sdk_creates_gets_lists_tags_and_deletes_an_instance(tmp_path: Path) -> None:
    certificate = tmp_path / "member0_cert.pem"
    certificate.write_text(member_certificate("alice"))
    with https_api(tmp_path / "data") as settings:
        make_group(settings, "sdk")
        seen = run_client(str(settings.credentials_file), str(certificate))

    assert seen["available_before"] is True
    assert seen["created"] == "Succeeded"
    assert seen["app_uri"].startswith("https://")
    assert seen["identity_service_uri"].endswith("/ledgerIdentity/sdkbank")
    assert seen["node_count"] == 3
    assert seen["created_by_type"] == "Application"
    assert seen["listed_in_group"] == seen["listed_in_subscription"] == ["sdkbank"]
    assert seen["available_after"] is False
    assert seen["tags"] == seen["again"] == {"step": "tagged"}
    assert seen["scaled"] == {"kind": "ResourceExistsError", "status": 409, "code": "OperationNotAllowed"}
    assert seen["bad_count"] == {"kind": "HttpResponseError", "status": 400, "code": "InvalidParameter"}
    assert seen["after_delete"] == {"kind": "ResourceNotFoundError", "status": 404, "code": "ResourceNotFound"}
    assert seen["left"] == []
    assert seen["operations"] >= 15


@pytest.mark.ci
def test_the_sdk_refuses_a_server_that_another_ca_vouches_for(tmp_path: Path) -> None:
    """The positive control: without our CA the same client does not get through."""
    certificate = tmp_path / "member0_cert.pem"
    certificate.write_text(member_certificate("alice"))
    with https_api(tmp_path / "data") as settings:
        known = json.loads(settings.credentials_file.read_text())
        other = tmp_path / "other.pem"
        other.write_text(member_certificate("not a CA of ours"))
        wrong = tmp_path / "credentials.json"
        wrong.write_text(json.dumps(known | {"ca_file": str(other)}))
        with pytest.raises(subprocess.CalledProcessError) as refused:
            run_client(str(wrong), str(certificate))
    assert "CERTIFICATE_VERIFY_FAILED" in refused.value.stderr


def make_group(settings: Settings, name: str) -> None:
    with signed_in(settings) as client:
        version = {"api-version": "2024-11-01"}
        answer = client.put(f"{GROUPS}/{name}", params=version, json={"location": "southcentralus"})
        assert answer.status_code == 201, answer.text


def run_client(credentials: str, certificate: str) -> dict[str, Any]:
    python = tool_python("azure-sdk", REQUIREMENTS)
    command = [str(python), str(SCRIPT), credentials, certificate]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)
