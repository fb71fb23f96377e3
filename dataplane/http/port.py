"""One listening interface as its connections see it: admission, TLS, counters (node-api.md 1.5, 2.2)."""

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from dataplane.config import Authority, Interface
from dataplane.http.parser import Fault
from dataplane.http.tls import TlsConnection, TlsServerContext

if TYPE_CHECKING:  # connections know their port, which needs only their types
    from dataplane.http.protocol import Dispatch, HttpConnection


class ListeningPort:
    """One interface: its certificate, its sessions, its counters. Connections come and go through `admit`, `forget`."""

    def __init__(
        self, interface: Interface, dispatch: "Dispatch", session_ids: "count[int]", note_peak: Callable[[], None]
    ) -> None:
        self.name = interface.name
        self.limits = interface.http
        self.authority = interface.authority
        self.dispatch = dispatch
        self.context: TlsServerContext | None = None
        self.server: asyncio.Server | None = None
        self.connections: set[HttpConnection] = set()
        self._soft_cap = interface.max_open_sessions_soft
        self._hard_cap = interface.max_open_sessions_hard
        self._peak = 0
        self._faults: Counter[Fault] = Counter()
        self._session_ids = session_ids
        self._note_peak = note_peak

    def admit(self, connection: "HttpConnection") -> bool:
        """Count a new connection in; False when it is to be dropped at once. May set its `over_cap`."""
        active = len(self.connections)
        if active >= self._hard_cap or (self.context is None and self.authority is not Authority.UNSECURED):
            return False
        connection.over_cap = active >= self._soft_cap
        self.connections.add(connection)
        self._peak = max(self._peak, active + 1)
        self._note_peak()
        return True

    def secure(self) -> TlsConnection | None:
        """The TLS side of a new connection; None on an unsecured interface."""
        return None if self.context is None else self.context.connection()

    def forget(self, connection: "HttpConnection") -> None:
        """Count a connection out."""
        self.connections.discard(connection)

    def count(self, fault: Fault) -> None:
        """Raise the error counter of `fault`."""
        self._faults[fault] += 1

    def next_session_id(self) -> int:
        """A number no other session of this node has."""
        return next(self._session_ids)

    def metrics(self) -> dict[str, object]:
        """This interface's object in `/node/metrics`."""
        return {
            "active": len(self.connections),
            "peak": self._peak,
            "soft_cap": self._soft_cap,
            "hard_cap": self._hard_cap,
            "errors": {fault.value: self._faults[fault] for fault in Fault},
        }

    def expire(self, oldest_s: float) -> None:
        """End sessions on which nothing has happened since `oldest_s` (loop time)."""
        for connection in list(self.connections):
            if connection.last_activity_s < oldest_s:
                connection.expire()

    def stop(self) -> None:
        """Accept no more; end each session once it is answered."""
        if self.server is not None:
            self.server.close()
        for connection in list(self.connections):
            connection.finish()

    def abort(self) -> None:
        """Drop every session."""
        for connection in list(self.connections):
            connection.abort()
