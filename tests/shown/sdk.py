"""The unpatched Azure SDK creates, gets, lists, tags and deletes an instance of real nodes.

    python -m tests.shown.sdk

The control asks for four nodes: the SDK must raise, with the contract's code.
"""

import tempfile
from pathlib import Path
from typing import Any

from tests.support.arm_world import SUBSCRIPTION, TENANT, member_certificate
from tests.support.installation import Installation
from tests.support.results import save
from tests.third_party.test_azure_sdk import REQUIREMENTS, make_group, run_client


def run(directory: Path) -> dict[str, Any]:
    """Raises where a step is not as the contract says."""
    certificate = directory / "member0_cert.pem"
    certificate.write_text(member_certificate("alice"))
    with Installation(directory, tenant_id=TENANT, subscription_id=SUBSCRIPTION) as installed:
        installed.mccf("up")
        settings = installed.settings
        make_group(settings, "sdk")
        seen = run_client(str(settings.credentials_file), str(certificate))
        left = [path for path in settings.instances_dir.glob("*") if path.is_dir()]
    assert seen["created"] == "Succeeded"
    assert seen["app_uri"].startswith("https://")
    assert seen["listed_in_group"] == seen["listed_in_subscription"] == ["sdkbank"]
    assert seen["tags"] == {"step": "tagged"}
    assert seen["bad_count"]["code"] == "InvalidParameter"
    assert seen["after_delete"]["code"] == "ResourceNotFound"
    assert (seen["left"], left) == ([], [])
    return {"sdk": REQUIREMENTS[0], "create_s": seen["create_s"], "seen": seen, "control": "four nodes are refused"}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        save("sdk", run(Path(temporary)))
