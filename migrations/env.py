"""Run migrations on the connection the caller hands over, else on the installation's own database."""

import os

from alembic import context
from sqlalchemy import Connection, create_engine

from controlplane import settings
from controlplane.store.tables import Row


def _run(connection: Connection) -> None:
    # SQLite cannot alter a constraint in place: Alembic then copies the table.
    batch = connection.dialect.name == "sqlite"
    context.configure(connection=connection, target_metadata=Row.metadata, render_as_batch=batch, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


_given = context.config.attributes.get("connection")
if _given is not None:
    _run(_given)
else:
    with create_engine(settings.load(os.environ).sqlalchemy_url).begin() as _connection:
        _run(_connection)
