"""What every request handler is given: settings, database, issuer, a hint for the worker, and a clock."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from controlplane.issuer.tokens import Issuer
from controlplane.settings import Settings
from controlplane.store.session import Database

Notify = Callable[[str], None]
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    database: Database
    issuer: Issuer
    notify: Notify
    """Tells a worker that an instance wants attention: a hint, which may be lost or fail (decisions 16)."""
    clock: Clock


def utc_now() -> datetime:
    return datetime.now(UTC)


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesOf = Annotated[Services, Depends(services_of)]
