"""Bring a database to the tables of this release, or say that it already is there."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from controlplane.store.session import Database


def upgrade(database: Database) -> None:
    """Apply every migration that is missing, in one transaction. Safe to repeat."""
    config = configuration()
    head = ScriptDirectory.from_config(config).get_current_head()
    # Two processes may start together: the write lock is taken before the revision is read.
    writer = database.engine.execution_options(sqlite_begin="IMMEDIATE")
    with writer.begin() as connection:
        if MigrationContext.configure(connection).get_current_revision() == head:
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def configuration() -> Config:
    """Alembic's settings, without a file: the scripts lie beside this package, in a checkout and when installed."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations"))
    return config
