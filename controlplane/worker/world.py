"""The real world of a worker: database, backend and operators as the settings say."""

from functools import partial

from controlplane.backends.registry import load_backend
from controlplane.ccf_operator.actions import ServiceOperator
from controlplane.ccf_operator.identity import ensure_identity, has_identity, remove_identity
from controlplane.ccf_operator.service import Operator
from controlplane.reconcile.world import World, listens
from controlplane.settings import Settings
from controlplane.store.session import Database, open_database


def make_world(settings: Settings, database: Database | None = None) -> World:
    """Everything a turn touches. Raises `UnknownBackend`."""

    def operator(instance_id: str, certificate: str) -> Operator:
        return ServiceOperator(ensure_identity(settings, instance_id), certificate)

    return World(
        settings=settings,
        database=database or open_database(settings.sqlalchemy_url),
        backend=load_backend(settings),
        operator=operator,
        operator_certificate=lambda instance_id: ensure_identity(settings, instance_id).certificate,
        has_operator=partial(has_identity, settings),
        forget_operator=partial(remove_identity, settings),
        gateway_listens=partial(listens, settings.instance_host),
    )
