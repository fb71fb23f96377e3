"""Memory that a runtime can be put back in, as if it were new: an optional compiled allocator (`_memory.c`).

A new runtime for each request costs five times the request itself; copying back what the request changed in a prepared
one costs next to nothing (decisions.md 9). Where nothing compiled the allocator, or the system gives no address space,
there is no such memory, and a fresh interpreter is a new runtime.
"""

import importlib.util
from pathlib import Path
from typing import Any

import cffi

_SLACK_BYTES = 64 << 20
"""Address space beyond twice the heap's limit: free lists waste some of it, and the image takes its part."""
_MOST_BYTES = 1 << 40


class Memory:
    """The memory of one runtime. `functions` and `handle` are addresses, for `JS_NewRuntime2`."""

    def __init__(self, max_heap_bytes: int) -> None:
        """Raises `MemoryError` where the system gives no address space."""
        if _lib is None:
            raise MemoryError("the allocator is not compiled")
        size = min(2 * max_heap_bytes + _SLACK_BYTES, _MOST_BYTES)
        self._memory = _lib.memory_new(size)
        if self._memory == _ffi.NULL:
            raise MemoryError(f"no address space for {size} bytes")
        self.functions = int(_ffi.cast("uintptr_t", _ffi.addressof(_lib, "memory_functions")))
        self.handle = int(_ffi.cast("uintptr_t", self._memory))

    def save(self) -> int:
        """Remember everything as it is now; how many bytes that is."""
        size: int = _lib.memory_save(self._memory)
        if size == 0:
            raise MemoryError("no room for an image of the memory")
        return size

    def restore(self) -> None:
        """Make everything as it was when it was saved: whatever came since is gone."""
        _lib.memory_restore(self._memory)

    def close(self) -> None:
        """Give the memory back to the system."""
        _lib.memory_delete(self._memory)
        self._memory = None


def is_compiled() -> bool:
    """Whether there can be such memory here."""
    return _lib is not None


def _open() -> tuple[Any, Any]:
    declarations = cffi.FFI()
    declarations.cdef(
        """
        extern const char memory_functions[];
        void *memory_new(size_t);
        size_t memory_save(void *);
        void memory_restore(void *);
        void memory_delete(void *);
        """
    )
    spec = importlib.util.find_spec("dataplane.js._memory")
    if spec is None or spec.origin is None:
        return declarations, None
    return declarations, declarations.dlopen(str(Path(spec.origin)))


_ffi, _lib = _open()
