"""Runs in an environment of its own: the unpatched SDK creates, gets, lists, tags and deletes an instance.

    python azure_sdk_client.py CREDENTIALS_JSON MEMBER_CERTIFICATE [RESOURCE_GROUP [NAME]]

`CREDENTIALS_JSON` is the file that `mccf up` writes. Prints one JSON object: what each step saw.
"""

import json
import sys
import time
from pathlib import Path

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.confidentialledger import ConfidentialLedger
from azure.mgmt.confidentialledger.models import (
    CheckNameAvailabilityRequest,
    DeploymentType,
    ManagedCCF,
    ManagedCCFProperties,
    MemberIdentityCertificate,
)


def main(credentials_file: str, certificate_file: str, group: str = "sdk", name: str = "sdkbank") -> None:
    known = json.loads(Path(credentials_file).read_text())
    client = connect(known)
    certificate = Path(certificate_file).read_text()
    instances = client.managed_ccf
    seen: dict[str, object] = {}

    seen["available_before"] = check_name(client, name)
    started_s = time.monotonic()
    created = instances.begin_create(group, name, body(certificate)).result()
    seen["create_s"] = round(time.monotonic() - started_s, 3)
    seen["created"] = created.properties.provisioning_state
    got = instances.get(group, name)
    seen["app_uri"] = got.properties.app_uri
    seen["identity_service_uri"] = got.properties.identity_service_uri
    seen["node_count"] = got.properties.node_count
    seen["created_by_type"] = got.system_data.created_by_type
    seen["listed_in_group"] = [item.name for item in instances.list_by_resource_group(group)]
    seen["listed_in_subscription"] = [item.name for item in instances.list_by_subscription()]
    seen["available_after"] = check_name(client, name)

    update = ManagedCCF(location="southcentralus", tags={"step": "tagged"})
    instances.begin_update(group, name, update).result()
    seen["tags"] = instances.get(group, name).tags
    seen["again"] = instances.begin_create(group, name, body(certificate, {"step": "tagged"})).result().tags
    seen["scaled"] = refusal(lambda: instances.begin_create(group, name, body(certificate, nodes=5)).result())
    seen["bad_count"] = refusal(lambda: instances.begin_create(group, "other", body(certificate, nodes=4)).result())

    instances.begin_delete(group, name).result()
    seen["after_delete"] = refusal(lambda: instances.get(group, name))
    seen["deleted_again"] = instances.begin_delete(group, name).result()
    seen["left"] = [item.name for item in instances.list_by_subscription()]
    seen["operations"] = len(list(client.operations.list()))
    print(json.dumps(seen, default=str))


def connect(known: dict[str, str]) -> ConfidentialLedger:
    credential = ClientSecretCredential(
        known["tenant_id"],
        known["client_id"],
        known["client_secret"],
        authority=known["authority"],
        disable_instance_discovery=True,
        connection_verify=known["ca_file"],
    )
    return ConfidentialLedger(
        credential,
        known["subscription_id"],
        base_url=known["authority"],
        credential_scopes=["https://management.azure.com/.default"],
        connection_verify=known["ca_file"],
    )


def body(certificate: str, tags: dict[str, str] | None = None, nodes: int = 3) -> ManagedCCF:
    member = MemberIdentityCertificate(certificate=certificate, tags={"identifier": "alice"})
    properties = ManagedCCFProperties(
        member_identity_certificates=[member],
        deployment_type=DeploymentType(language_runtime="JS", app_source_uri=""),
        node_count=nodes,
    )
    return ManagedCCF(location="southcentralus", tags=tags, properties=properties)


def check_name(client: ConfidentialLedger, name: str) -> bool:
    request = CheckNameAvailabilityRequest(name=name, type="Microsoft.ConfidentialLedger/managedCCFs")
    return bool(client.check_name_availability(request).name_available)


def refusal(call: object) -> dict[str, object]:
    try:
        call()
    except (ResourceExistsError, ResourceNotFoundError, HttpResponseError) as error:
        kind = type(error).__name__
        return {"kind": kind, "status": error.status_code, "code": error.error and error.error.code}
    return {"kind": None}


if __name__ == "__main__":
    main(*sys.argv[1:])
