"""Migrations make what the models say, from nothing and again (architecture.md 12)."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Integer, Table, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from controlplane.store.migrate import configuration, upgrade
from controlplane.store.session import Database, open_database
from controlplane.store.tables import TABLES, Row

ROOT = Path(__file__).parents[4]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path}/mccf.db")
    yield database
    database.close()


def differences(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Row.metadata))


def test_an_empty_database_becomes_what_the_models_say(database: Database) -> None:
    upgrade(database)
    assert differences(database) == []
    assert set(TABLES) < set(inspect(database.engine).get_table_names())
    upgrade(database)
    assert differences(database) == []


def test_a_missing_migration_is_seen(database: Database) -> None:
    """The positive control: a model without its migration makes a difference."""
    upgrade(database)
    extra = Table("left_out", Row.metadata, Column("id", Integer, primary_key=True))
    try:
        assert differences(database) != []
    finally:
        Row.metadata.remove(extra)


def test_migrations_go_down_to_nothing(database: Database) -> None:
    upgrade(database)
    config = configuration()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(database.engine).get_table_names() == ["alembic_version"]


def test_the_environment_reads_the_installations_settings(tmp_path: Path) -> None:
    """`alembic upgrade head` by hand works on the database of `MCCF_DATA_DIR`."""
    script = "from alembic import command; from controlplane.store.migrate import configuration as c; "
    script += "command.upgrade(c(), 'head')"
    environment = {"MCCF_DATA_DIR": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True, timeout=60)
    database = open_database(f"sqlite:///{tmp_path}/mccf.db")
    assert differences(database) == []
    database.close()


def test_every_table_can_be_written_for_postgresql() -> None:
    for table in TABLES.values():
        ddl = str(CreateTable(table.__table__).compile(dialect=postgresql.dialect()))
        assert "DATETIME" not in ddl
        assert f"CREATE TABLE {table.__tablename__}" in ddl


def test_sqlite_is_set_up_for_many_processes(database: Database) -> None:
    upgrade(database)
    with database.read() as session:
        pragma = {
            name: session.connection().exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        }
    assert pragma == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 10_000}


def test_no_column_is_made_for_a_secret() -> None:
    names = {column.name for table in TABLES.values() for column in table.__table__.columns}
    allowed = {"secret_salt", "secret_hash", "lease_token"}
    suspicious = {name for name in names if any(word in name for word in ("secret", "password", "token", "private"))}
    assert suspicious == allowed
