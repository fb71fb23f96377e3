"""First tables."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resource_row_id", sa.String(length=36), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("operation_id", sa.String(length=36), nullable=True),
        sa.Column("correlation_id", sa.String(length=36), nullable=True),
        sa.Column("caller", sa.String(length=128), nullable=True),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_events")),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_events_resource_row_id"), ["resource_row_id"], unique=False)

    op.create_table(
        "operations",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("resource_row_id", sa.String(length=36), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("location", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("percent_complete", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("caller", sa.String(length=128), nullable=False),
        sa.Column("client_request_id", sa.String(length=128), nullable=True),
        sa.Column("correlation_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operations")),
    )
    with op.batch_alter_table("operations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_operations_ended_at"), ["ended_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_operations_resource_row_id"), ["resource_row_id"], unique=False)

    op.create_table(
        "principals",
        sa.Column("app_id", sa.String(length=36), nullable=False),
        sa.Column("object_id", sa.String(length=36), nullable=False),
        sa.Column("display_name", sa.String(length=128), nullable=False),
        sa.Column("secret_salt", sa.String(length=64), nullable=False),
        sa.Column("secret_hash", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_principals")),
        sa.UniqueConstraint("object_id", name=op.f("uq_principals_object_id")),
    )
    op.create_table(
        "registrations",
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("name_key", sa.String(length=160), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("subscription_id", "name_key", name=op.f("pk_registrations")),
    )
    op.create_table(
        "resource_groups",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=90), nullable=False),
        sa.Column("name_key", sa.String(length=90), nullable=False),
        sa.Column("location", sa.String(length=64), nullable=False),
        sa.Column("tags", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("provisioning_state", sa.String(length=16), nullable=False),
        sa.Column("delete_operation_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resource_groups")),
    )
    with op.batch_alter_table("resource_groups", schema=None) as batch_op:
        batch_op.create_index("uq_resource_groups_name", ["subscription_id", "name_key"], unique=True)

    op.create_table(
        "zones",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("backend", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("down", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_zones")),
    )
    op.create_table(
        "instances",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("group_id", sa.String(length=36), nullable=False),
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("group_name", sa.String(length=90), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("name_key", sa.String(length=64), nullable=False),
        sa.Column("location", sa.String(length=64), nullable=False),
        sa.Column("tags", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("desired", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("delete_requested", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_by_type", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_by", sa.String(length=128), nullable=False),
        sa.Column("modified_by_type", sa.String(length=16), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("provisioning_state", sa.String(length=16), nullable=False),
        sa.Column("running_state", sa.String(length=16), nullable=False),
        sa.Column("operation_id", sa.String(length=36), nullable=True),
        sa.Column("observed_generation", sa.Integer(), nullable=False),
        sa.Column("app_uri", sa.Text(), nullable=True),
        sa.Column("identity_service_uri", sa.Text(), nullable=True),
        sa.Column("service_certificate", sa.Text(), nullable=True),
        sa.Column("service_state", sa.String(length=32), nullable=True),
        sa.Column("waiting_for_members", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("gateway_port", sa.Integer(), nullable=True),
        sa.Column("next_ordinal", sa.Integer(), nullable=False),
        sa.Column("observed", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("lease_token", sa.String(length=36), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["resource_groups.id"], name=op.f("fk_instances_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instances")),
        sa.UniqueConstraint("name_key", name=op.f("uq_instances_name_key")),
    )
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.create_index("ix_instances_due", ["due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_instances_group_id"), ["group_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_instances_provisioning_state"), ["provisioning_state"], unique=False)

    op.create_table(
        "nodes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("instance_id", sa.String(length=36), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=True),
        sa.Column("rpc_address", sa.String(length=128), nullable=True),
        sa.Column("peer_address", sa.String(length=128), nullable=True),
        sa.Column("last_seqno", sa.Integer(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_nodes_instance_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
    )
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.create_index("uq_nodes_ordinal", ["instance_id", "ordinal"], unique=True)


def downgrade() -> None:
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.drop_index("uq_nodes_ordinal")

    op.drop_table("nodes")
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_instances_provisioning_state"))
        batch_op.drop_index(batch_op.f("ix_instances_group_id"))
        batch_op.drop_index("ix_instances_due")

    op.drop_table("instances")
    op.drop_table("zones")
    with op.batch_alter_table("resource_groups", schema=None) as batch_op:
        batch_op.drop_index("uq_resource_groups_name")

    op.drop_table("resource_groups")
    op.drop_table("registrations")
    op.drop_table("principals")
    with op.batch_alter_table("operations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_operations_resource_row_id"))
        batch_op.drop_index(batch_op.f("ix_operations_ended_at"))

    op.drop_table("operations")
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_events_resource_row_id"))

    op.drop_table("events")
