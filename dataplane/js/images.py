"""Fresh interpreters for little: one per access, put back after each call to what it was before any application code.

What is put back is the whole memory of the runtime (`memory`), with globals, intrinsics, modules and jobs; the host's
own tables go with it. Modules are kept loaded, not evaluated: each call evaluates them anew, as in a new runtime.
Finalisers never run, so nothing outside that memory may belong to a runtime: buffers are copies, randomness is the
host's.
"""

from dataplane.js.host import Access
from dataplane.js.interpreter import Interpreter
from dataplane.js.memory import Memory, is_compiled


class Images:
    """Gives out interpreters for one call each. An image is out while it runs, so nothing can use it twice at once."""

    def __init__(self) -> None:
        self._kept: dict[Access, Interpreter] = {}

    def take(self, access: Access, max_heap_bytes: int) -> Interpreter:
        """An interpreter that is as good as new."""
        return self._kept.pop(access, None) or Interpreter(access, _memory(max_heap_bytes))

    def give_back(self, access: Access, interpreter: Interpreter) -> None:
        """Put it back and keep it, where that is possible."""
        if access in self._kept or not interpreter.restore():
            interpreter.close()
        else:
            self._kept[access] = interpreter

    def clear(self) -> None:
        """Close every image: another application, or other limits."""
        while self._kept:
            self._kept.popitem()[1].close()


def _memory(max_heap_bytes: int) -> Memory | None:
    if not is_compiled():
        return None
    try:
        return Memory(max_heap_bytes)
    except MemoryError:
        return None
