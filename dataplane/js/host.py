"""What one interpreter offers to the scripts in it, and the call it works on.

The host functions in `ccf/` are given a `Host`; the interpreter sets its `invocation` anew for every call, so a table
handle or function that a script keeps works on the present call's transaction.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from dataplane.js.quickjs import Context, Thrown, Value
from dataplane.kv.tx import Tx
from dataplane.past import Historical, PastState

Source = Callable[[str], str | bytes | None]
"""The text of a module by its path without leading `/`, None where there is none."""
Natives = Mapping[str, Callable[..., object]]
"""Host functions by dotted name below `ccf`, e.g. `node.triggerSnapshot`."""
Console = Callable[[str, str], None]
"""(level, text): level is `info`, `warn` or `error`."""


class Access(Enum):
    """Who runs; decides which tables may be read and written (node-api.md 5.6). The value is used in messages."""

    GOV_READ_ONLY = "read-only governance"
    GOV_READ_WRITE = "read-write governance"
    APP_READ_WRITE = "application"
    APP_READ_ONLY = "read-only application"
    APP_HISTORICAL = "historical application"


class RequestSource(Protocol):
    """Where the lazy parts of a request object come from."""

    @property
    def body(self) -> bytes:
        """The request's body."""

    def headers_json(self) -> str:
        """The headers as the text of a JSON object."""

    def caller(self) -> object:
        """The caller: JSON text, or a mapping where it holds bytes."""


@dataclass(slots=True)
class OpenState:
    """A transaction of the past that a script was given, and the transaction that reads it."""

    state: PastState
    _tx: Tx | None = None

    def tx(self) -> Tx:
        """Made when the script first looks into a table."""
        if self._tx is None:
            self._tx = self.state.tx()
        return self._tx


@dataclass(slots=True)
class Invocation:
    """One call: what it may use, and what it leaves behind.

    `apply_writes` is what `ccf.rpc.setApplyWrites` asked for; `cursors` are the tables being iterated. `history` is
    where transactions of the past come from; `states` are those the call has, by their number.
    """

    source: Source
    tx: Tx | None
    natives: Natives
    console: Console
    random_bytes: Callable[[int], bytes]
    request: RequestSource | None = None
    apply_writes: bool | None = None
    cursors: list[Iterator[tuple[bytes, bytes]]] = field(default_factory=list)
    history: Historical | None = None
    states: list[OpenState] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """A table a script has a handle for, with what the interpreter's access allows."""

    name: str
    readable: bool
    writable: bool
    refusal: str


class Host:
    """An interpreter's state on the host's side."""

    __slots__ = ("access", "context", "invocation", "load_rare", "metrics_logging", "table_ids", "tables")

    context: Context
    invocation: Invocation
    load_rare: Callable[[], Value]

    def __init__(self, access: Access) -> None:
        self.access = access
        self.metrics_logging = True
        self.tables: list[Table] = []
        self.table_ids: dict[str, int] = {}

    def forget(self) -> None:
        """Become what a new interpreter's host is."""
        self.metrics_logging = True
        self.tables.clear()
        self.table_ids.clear()

    def tx(self) -> Tx:
        """The call's transaction; scripts that are only validated have none."""
        if self.invocation.tx is None:
            raise Thrown("No transaction is open in this context")
        return self.invocation.tx
