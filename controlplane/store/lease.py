"""Whose turn it is to reconcile an instance, by one guarded UPDATE each (decisions 16).

A lease has a random token. Whoever holds the token that is in the row may save; a token that is gone means that
someone newer owns the instance, and the older result is dropped.
"""

from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, or_, update
from sqlalchemy.orm import Session

from controlplane.store.tables import Instance


def take(session: Session, instance_id: str, token: str, now: datetime, lease_ms: int) -> bool:
    """Take a lease that is free or expired at `now`; False when someone else holds it or the row is gone."""
    free = or_(Instance.lease_until.is_(None), Instance.lease_until <= now)
    statement = update(Instance).where(Instance.id == instance_id, free)
    return _changed_one(session, statement.values(lease_token=token, lease_until=_until(now, lease_ms)))


def renew(session: Session, instance_id: str, token: str, now: datetime, lease_ms: int) -> bool:
    """Extend a lease that is still ours, even if it expired and nobody took it."""
    statement = _held(instance_id, token).values(lease_until=_until(now, lease_ms))
    return _changed_one(session, statement)


def release(session: Session, instance_id: str, token: str) -> bool:
    """Give the lease back; False when it was no longer ours."""
    return _changed_one(session, _held(instance_id, token).values(lease_token=None, lease_until=None))


def save(session: Session, instance_id: str, token: str, **values: object) -> bool:
    """Write columns of the instance only where the lease is still ours; False means: drop the result."""
    return _changed_one(session, _held(instance_id, token).values(**values))


def _until(now: datetime, lease_ms: int) -> datetime:
    return now + timedelta(milliseconds=lease_ms)


def _held(instance_id: str, token: str) -> Any:
    return update(Instance).where(Instance.id == instance_id, Instance.lease_token == token)


def _changed_one(session: Session, statement: Any) -> bool:
    result = cast("CursorResult[Any]", session.execute(statement))
    return result.rowcount == 1
