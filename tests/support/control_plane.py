"""A control plane in a temporary directory: database, rows as the API writes them, and the loop over fakes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import event, select

from controlplane.arm.operation import OperationKind, OperationStatus
from controlplane.reconcile.loop import Turn, reconcile
from controlplane.reconcile.world import World
from controlplane.settings import Settings
from controlplane.store import queries
from controlplane.store.session import Database, open_database
from controlplane.store.tables import Event, Instance, Node, Operation, ResourceGroup, Row
from tests.support.fake_backend import FakeBackend, FakeOperator, Faults

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nmember\n-----END CERTIFICATE-----\n"
DESIRED: Mapping[str, Any] = {
    "nodeCount": 3,
    "runningState": "Active",
    "deploymentType": {"languageRuntime": "JS", "appSourceUri": "customImage"},
    "memberIdentityCertificates": [{"certificate": CERTIFICATE, "encryptionkey": None, "tags": {"identifier": "m0"}}],
}


@dataclass
class ControlPlane:
    """`clock` moves only when the loop sleeps or a test says so; each sleep is one tick of every fake cluster."""

    settings: Settings
    database: Database
    faults: Faults = field(default_factory=Faults)
    operators: set[str] = field(default_factory=set)
    now: datetime = EPOCH
    listens: bool = True

    def __post_init__(self) -> None:
        self.backend = FakeBackend(self.faults, lambda: self.now.timestamp())
        self.world = World(
            settings=self.settings,
            database=self.database,
            backend=self.backend,
            operator=lambda instance_id, _certificate: FakeOperator(self.backend.cluster(instance_id), self.faults),
            operator_certificate=self._operator_certificate,
            has_operator=lambda instance_id: instance_id in self.operators,
            forget_operator=self.operators.discard,
            gateway_listens=lambda _port: self.listens,
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        for cluster in self.backend.clusters.values():
            cluster.tick(seconds)

    def put(self, name: str = "bank", **desired: Any) -> str:
        """What the API's PUT leaves in the database; the new instance's row id."""
        with self.database.write() as session:
            group = queries.group_by_name(session, SUBSCRIPTION, "rg") or self._group()
            session.add(group)
            session.flush()
            row = self._instance(group, name, {**DESIRED, **desired})
            session.add(row)
            self._operation(session, row, OperationKind.CREATE, OperationStatus.CREATING)
            return row.id

    def delete(self, instance_id: str) -> None:
        """What the API's DELETE leaves in the database."""
        with self.database.write() as session:
            row = queries.instance_by_id(session, instance_id)
            assert row is not None
            row.delete_requested, row.provisioning_state, row.due_at = True, "Deleting", self.now
            row.generation += 1
            self._operation(session, row, OperationKind.DELETE, OperationStatus.DELETING)

    def update(self, instance_id: str, **desired: Any) -> None:
        with self.database.write() as session:
            row = queries.instance_by_id(session, instance_id)
            assert row is not None
            row.desired = {**row.desired, **desired}
            row.generation += 1
            row.provisioning_state, row.due_at = "Updating", self.now
            self._operation(session, row, OperationKind.UPDATE, OperationStatus.UPDATING)

    def turn(self, instance_id: str) -> Turn:
        return reconcile(self.world, instance_id)

    def settle(self, instance_id: str, turns: int = 30) -> None:
        """Turns until one is finished, as task and sweep would have it."""
        for _ in range(turns):
            if self.turn(instance_id) is Turn.FINISHED:
                return
            self.sleep(1.0)
        raise AssertionError(f"instance {instance_id} was not settled: {self.messages()}")

    def created(self, *, is_open: bool = True, **desired: Any) -> str:
        instance_id = self.put(**desired)
        self.settle(instance_id)
        if is_open:
            self.activate_member(instance_id)
            self.settle(instance_id)
        return instance_id

    def activate_member(self, instance_id: str) -> None:
        service = self.backend.cluster(instance_id).service
        assert service is not None
        service.members["m0"] = True

    def instance(self, instance_id: str) -> Instance:
        with self.database.read() as session:
            row = queries.instance_by_id(session, instance_id)
        assert row is not None
        return row

    def exists(self, instance_id: str) -> bool:
        with self.database.read() as session:
            return queries.instance_by_id(session, instance_id) is not None

    def operations(self, instance_id: str) -> list[Operation]:
        with self.database.read() as session:
            query = select(Operation).where(Operation.resource_row_id == instance_id)
            return list(session.scalars(query.order_by(Operation.started_at)))

    def nodes(self, instance_id: str) -> dict[str, Node]:
        with self.database.read() as session:
            return {node.name: node for node in queries.nodes_of_instance(session, instance_id)}

    def messages(self) -> list[str]:
        with self.database.read() as session:
            return [row.message for row in session.scalars(select(Event).order_by(Event.sequence))]

    def kinds(self) -> list[str]:
        with self.database.read() as session:
            return [row.kind for row in session.scalars(select(Event).order_by(Event.sequence))]

    def _operator_certificate(self, instance_id: str) -> str:
        self.operators.add(instance_id)
        return CERTIFICATE

    def _group(self) -> ResourceGroup:
        return ResourceGroup(
            id=queries.new_id(),
            subscription_id=SUBSCRIPTION,
            name="rg",
            name_key="rg",
            location="southcentralus",
            tags={},
            provisioning_state="Succeeded",
            created_at=self.now,
            modified_at=self.now,
        )

    def _instance(self, group: ResourceGroup, name: str, desired: dict[str, Any]) -> Instance:
        return Instance(
            id=queries.new_id(),
            group_id=group.id,
            subscription_id=SUBSCRIPTION,
            group_name="rg",
            name=name,
            name_key=name.lower(),
            location="southcentralus",
            tags={},
            desired=desired,
            generation=1,
            revision=1,
            created_by="tester",
            created_by_type="User",
            created_at=self.now,
            modified_by="tester",
            modified_by_type="User",
            modified_at=self.now,
            provisioning_state="Creating",
            running_state="Unknown",
            observed_generation=0,
            next_ordinal=0,
            due_at=self.now,
        )

    def _operation(self, session: Any, row: Instance, kind: OperationKind, status: OperationStatus) -> None:
        operation = Operation(
            id=queries.new_id(),
            resource_row_id=row.id,
            resource_id=f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/{row.name}",
            location=row.location,
            kind=kind,
            status=status,
            generation=row.generation,
            percent_complete=0,
            started_at=self.now,
            caller="tester",
            correlation_id=queries.new_id(),
        )
        row.operation_id = operation.id
        session.add(operation)


def open_control_plane(directory: Path) -> ControlPlane:
    settings = Settings(data_dir=directory, subscription_id=SUBSCRIPTION)
    database = open_database(settings.sqlalchemy_url)
    event.listen(database.engine, "connect", _without_sync)
    Row.metadata.create_all(database.engine)
    return ControlPlane(settings, database)


def _without_sync(connection: Any, _record: Any) -> None:
    """No test here pulls the plug, and a disk's patience is not what is measured."""
    connection.execute("PRAGMA synchronous=OFF").close()
