"""Every table of the control plane. Desired state is written by the API, observed state by the reconciler.

Portable SQL only: the same models run on SQLite and PostgreSQL (decisions 17). Times are aware UTC datetimes.
No column ever holds a private key, a secret, a token or a share; a principal's secret is kept as a salted hash.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, Index, Integer, MetaData, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Named constraints, so that a migration can find them on every database.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite keeps no zone, so it is put back when a value is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "a naive datetime reached the store"
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Row(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads this class attribute by name)
        datetime: UtcDateTime,
        dict[str, Any]: JSON(none_as_null=True),
        dict[str, str]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
    }


class ResourceGroup(Row):
    """A container of resources; `name_key` is the lower-case name, as ARM compares it."""

    __tablename__ = "resource_groups"
    __table_args__ = (Index("uq_resource_groups_name", "subscription_id", "name_key", unique=True),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    subscription_id: Mapped[str] = mapped_column(String(36))
    name: Mapped[str] = mapped_column(String(90))
    name_key: Mapped[str] = mapped_column(String(90))
    location: Mapped[str] = mapped_column(String(64))
    tags: Mapped[dict[str, str]]
    provisioning_state: Mapped[str] = mapped_column(String(16))
    """`Succeeded`, or `Deleting` while its members go first (control-plane.md 4.10)."""
    delete_operation_id: Mapped[str | None] = mapped_column(String(36))
    """The operation that ends when the last member is gone and the group's row with it."""
    created_at: Mapped[datetime]
    modified_at: Mapped[datetime]


class Instance(Row):
    """One managed CCF: what is wanted (`desired`, `generation`), and what the reconciler last made true."""

    __tablename__ = "instances"
    __table_args__ = (Index("ix_instances_due", "due_at"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("resource_groups.id"), index=True)
    subscription_id: Mapped[str] = mapped_column(String(36))
    group_name: Mapped[str] = mapped_column(String(90))
    """The group's name in the casing the client used last (control-plane.md 4.1)."""
    name: Mapped[str] = mapped_column(String(64))
    name_key: Mapped[str] = mapped_column(String(64), unique=True)
    """Lower-case name, unique over the whole installation because it is a DNS label (control-plane.md 1.4)."""
    location: Mapped[str] = mapped_column(String(64))
    tags: Mapped[dict[str, str]]

    # Desired state, written by the API.
    desired: Mapped[dict[str, Any]]
    """ARM property names: `nodeCount`, `deploymentType {languageRuntime, appSourceUri}`, `runningState`,
    `memberIdentityCertificates [{certificate, encryptionkey?, tags?}]`, and `constitution` when the client gave one."""
    generation: Mapped[int]
    """Grows with every accepted change of `desired`."""
    delete_requested: Mapped[bool] = mapped_column(default=False)
    revision: Mapped[int]
    """Grows with every change a client can see; the ETag (control-plane.md 4.4)."""
    created_by: Mapped[str] = mapped_column(String(128))
    created_by_type: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    modified_by: Mapped[str] = mapped_column(String(128))
    modified_by_type: Mapped[str] = mapped_column(String(16))
    modified_at: Mapped[datetime]

    # State shown to clients, written by the API at the start and by the reconciler at the end of an operation.
    provisioning_state: Mapped[str] = mapped_column(String(16), index=True)
    running_state: Mapped[str] = mapped_column(String(16))
    operation_id: Mapped[str | None] = mapped_column(String(36))
    """The operation now running, or the last one."""

    # Observed state, written by the reconciler alone.
    observed_generation: Mapped[int] = mapped_column(default=0)
    """The generation that is fully carried out."""
    app_uri: Mapped[str | None] = mapped_column(Text)
    identity_service_uri: Mapped[str | None] = mapped_column(Text)
    service_certificate: Mapped[str | None] = mapped_column(Text)
    """PEM of the CCF service certificate, which the identity service hands out (control-plane.md 6.3)."""
    service_state: Mapped[str | None] = mapped_column(String(32))
    """CCF's words: `Opening`, `Open`, `WaitingForRecoveryShares`, `Recovering`."""
    waiting_for_members: Mapped[list[str] | None]
    """Ids of members that must still activate before the service can open (decisions 5)."""
    gateway_port: Mapped[int | None]
    next_ordinal: Mapped[int] = mapped_column(default=0)
    """Ordinal of the next node; never goes back, because a dead node's identity is never used again."""
    observed: Mapped[dict[str, Any] | None]
    """The reconciler's own notes between two steps; nothing else reads them."""

    # Whose turn it is (decisions 16).
    lease_token: Mapped[str | None] = mapped_column(String(36))
    lease_until: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    """When the sweep must look at this instance again; NULL means that nothing is to be done."""


class Node(Row):
    """One node, living or gone. Written by the reconciler alone."""

    __tablename__ = "nodes"
    __table_args__ = (Index("uq_nodes_ordinal", "instance_id", "ordinal", unique=True),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    instance_id: Mapped[str] = mapped_column(ForeignKey("instances.id", ondelete="CASCADE"))
    ordinal: Mapped[int]
    name: Mapped[str] = mapped_column(String(96))
    """Derived from instance and ordinal, so that a repeated step finds its work done."""
    zone: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(32))
    """`Starting`, `Joining`, `Running`, `Retiring`, `Dead`."""
    node_id: Mapped[str | None] = mapped_column(String(64))
    """CCF's node id: the SHA-256 of its public key, in hex."""
    role: Mapped[str | None] = mapped_column(String(16))
    """`Primary` or `Backup` when last seen."""
    rpc_address: Mapped[str | None] = mapped_column(String(128))
    """`host:port` of the interface clients reach through the gateway."""
    peer_address: Mapped[str | None] = mapped_column(String(128))
    """`host:port` of the node-to-node interface."""
    last_seqno: Mapped[int | None]
    message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Zone(Row):
    """A failure domain: a directory and an address range for the process backend (decisions 18)."""

    __tablename__ = "zones"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    backend: Mapped[str] = mapped_column(String(32))
    ordinal: Mapped[int]
    down: Mapped[bool] = mapped_column(default=False)
    """Known to be lost: nothing new is placed there."""


class Operation(Row):
    """A long-running operation; it outlives its resource (control-plane.md 3.2), hence no foreign key."""

    __tablename__ = "operations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    resource_row_id: Mapped[str] = mapped_column(String(36), index=True)
    """`instances.id` or `resource_groups.id`."""
    resource_id: Mapped[str] = mapped_column(Text)
    location: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    """`Create`, `Update`, `Delete`, `DeleteGroup`."""
    status: Mapped[str] = mapped_column(String(16))
    """A state of `arm.operation`."""
    generation: Mapped[int]
    percent_complete: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None] = mapped_column(index=True)
    error: Mapped[dict[str, Any] | None]
    """The ARM error object of a failed operation."""
    result: Mapped[dict[str, Any] | None]
    caller: Mapped[str] = mapped_column(String(128))
    """Object id of the principal that started it."""
    client_request_id: Mapped[str | None] = mapped_column(String(128))
    correlation_id: Mapped[str] = mapped_column(String(36))


class Event(Row):
    """What happened, in order: activity log, event list and portal read these rows."""

    __tablename__ = "events"

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    resource_row_id: Mapped[str] = mapped_column(String(36), index=True)
    resource_id: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(64))
    """A dotted name such as `instance.created`, `node.launched`, `operation.succeeded`."""
    level: Mapped[str] = mapped_column(String(16))
    """`Informational`, `Warning` or `Error`."""
    message: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any] | None]
    operation_id: Mapped[str | None] = mapped_column(String(36))
    correlation_id: Mapped[str | None] = mapped_column(String(36))
    caller: Mapped[str | None] = mapped_column(String(128))


class Principal(Row):
    """An application that may ask for tokens. The secret itself exists only in its owner's file."""

    __tablename__ = "principals"

    app_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    object_id: Mapped[str] = mapped_column(String(36), unique=True)
    display_name: Mapped[str] = mapped_column(String(128))
    secret_salt: Mapped[str] = mapped_column(String(64))
    secret_hash: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime]


class Registration(Row):
    """A provider or feature whose state a client set; what is absent is registered."""

    __tablename__ = "registrations"

    subscription_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name_key: Mapped[str] = mapped_column(String(160), primary_key=True)
    """Lower-case namespace, or `namespace/feature`."""
    state: Mapped[str] = mapped_column(String(16))


TABLES: Mapping[str, type[Row]] = {
    row.__tablename__: row for row in (ResourceGroup, Instance, Node, Zone, Operation, Event, Principal, Registration)
}
