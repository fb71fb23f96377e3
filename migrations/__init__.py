"""Alembic's scripts: how the database came to be what `controlplane.store.tables` says."""
