"""The identity service of `identityServiceUri`: whose certificate to trust for an `appUri` (control-plane.md 6.3)."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from controlplane.api.answers import ArmJson
from controlplane.api.routing import ERRORS
from controlplane.api.schemas import LedgerIdentity
from controlplane.api.services import ServicesOf
from controlplane.errors import not_found
from controlplane.store import queries

router = APIRouter(redirect_slashes=False, responses=ERRORS)


@router.get("/ledgerIdentity/{ledgerId}", response_model=LedgerIdentity, name="LedgerIdentity_Get")
def ledger_identity(services: ServicesOf, name: Annotated[str, Path(alias="ledgerId")]) -> Response:
    """Public on purpose: a client has to know whom to trust before it can speak to the service."""
    with services.database.read() as session:
        instance = queries.instance_by_name(session, name)
    if instance is None or instance.service_certificate is None:
        raise not_found("ResourceNotFound", f"The identity of '{name}' was not found.")
    return ArmJson({"ledgerId": instance.name, "ledgerTlsCertificate": instance.service_certificate})
