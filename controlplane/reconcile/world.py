"""Everything a turn touches besides values, so that tests can bring a world of their own."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from controlplane.backends.backend import Backend
from controlplane.ccf_operator.service import Operator
from controlplane.settings import Settings
from controlplane.store.session import Database


@dataclass(frozen=True, slots=True)
class World:
    """`operator` is asked for by instance id and service certificate (PEM)."""

    settings: Settings
    database: Database
    backend: Backend
    operator: Callable[[str, str], Operator]
    operator_certificate: Callable[[str], str]
    """The operator member's certificate (PEM) of an instance, made at first use."""
    has_operator: Callable[[str], bool]
    forget_operator: Callable[[str], None]
    gateway_listens: Callable[[int], bool]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep


def listens(host: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True
