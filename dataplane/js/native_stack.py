"""How much stack a thread has: a script that may use more than that ends the process (node-api.md 5.7)."""

import threading
from typing import Any

import cffi

_UNLIMITED_STACK_BYTES = 64 << 20
_UNKNOWN_STACK_BYTES = 1 << 20

_threads = threading.local()


def thread_stack_bytes() -> int:
    """The size of this thread's stack in bytes, at most 64 MiB where it is unlimited."""
    size: int | None = getattr(_threads, "stack_bytes", None)
    if size is None:
        size = _threads.stack_bytes = _measure_stack_bytes()
    return size


def _measure_stack_bytes() -> int:
    attributes = _ffi.new("char[256]")  # pthread_attr_t is 56 bytes with glibc and musl
    size = _ffi.new("size_t *")
    if _libc.pthread_getattr_np(_libc.pthread_self(), attributes) != 0:
        return _UNKNOWN_STACK_BYTES
    _libc.pthread_attr_getstacksize(attributes, size)
    _libc.pthread_attr_destroy(attributes)
    return int(min(size[0], _UNLIMITED_STACK_BYTES))


def _open_libc() -> tuple[cffi.FFI, Any]:
    declarations = cffi.FFI()
    declarations.cdef(
        """
        uintptr_t pthread_self(void);
        int pthread_getattr_np(uintptr_t, char *);
        int pthread_attr_getstacksize(const char *, size_t *);
        int pthread_attr_destroy(char *);
        """
    )
    return declarations, declarations.dlopen(None)


_ffi, _libc = _open_libc()
