"""Compiled scripts and modules of this process, so that each source is compiled once.

Bytecode comes from here and from nowhere else: the engine does not verify it, so what a ledger or another node holds is
never run. Keys hold the whole source; hashing it costs once, since Python keeps the hash of a `bytes` object.
"""

import threading
from collections import OrderedDict
from enum import Enum

from dataplane.js.quickjs import Context, Value

_MAX_BYTES = 64 << 20


class Kind(Enum):
    """What a source is compiled as; the same text gives different bytecode."""

    SCRIPT = "script"
    MODULE = "module"


class CompiledCode:
    """Bytecode by kind, name and source; the least recently used goes first, at `max_bytes` with sources counted."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: OrderedDict[tuple[Kind, str, bytes], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def load(self, context: Context, kind: Kind, name: str, source: bytes) -> Value:
        """The compiled source as a value of `context`; raises `Pending` where it does not compile."""
        key = (kind, name, source)
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
        if known is not None:
            return context.read_bytecode(known)
        compile_ = context.compile_module if kind is Kind.MODULE else context.compile_script
        compiled = compile_(source, name)
        self._keep(key, context.write_bytecode(compiled, strip_source=kind is Kind.SCRIPT))
        return compiled

    def _keep(self, key: tuple[Kind, str, bytes], code: bytes) -> None:
        with self._lock:
            if key in self._known:
                return
            self._known[key] = code
            self._bytes += len(key[2]) + len(code)
            while self._bytes > self._max_bytes:
                (_, _, source), oldest = self._known.popitem(last=False)
                self._bytes -= len(source) + len(oldest)
