"""The binding to QuickJS: with `quickjs_abi`, the only place that knows the engine.

What keeps this memory-safe:

- every entry calls `JS_UpdateStackTop`, since the thread may have changed, and the stack limit never passes what the
  thread has;
- a value the engine hands out is either freed in the same function or given to `Context.keep`;
- module values are never freed: the engine frees a module with its context, or earlier when loading it fails, and
  aborts the process when the last reference to one is given back;
- no Python exception crosses the engine: a host function turns it into a JavaScript exception, or notes it in
  `Context.failure` and ends the script with an exception that scripts cannot catch.

Longer than 400 lines because the engine must stay behind one class: what it owns is freed where it is made.
"""

import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataplane.js.memory import Memory
from dataplane.js.modules import resolve_specifier
from dataplane.js.native_stack import thread_stack_bytes
from dataplane.js.quickjs_abi import ENGINE_VERSION as ENGINE_VERSION
from dataplane.js.quickjs_abi import ffi, lib

Value = Any
"""A `JSValue`: a cffi structure of two words."""
Arguments = Any
"""A pointer to `JSValue`s, valid during the host function that received it."""
Operation = Callable[[Any, int, Arguments], Value]
"""A host function: (host object, argument count, arguments) -> value."""

_TAG_BIG_INT, _TAG_SYMBOL, _TAG_STRING, _TAG_ROPE, _TAG_OBJECT = -9, -8, -7, -6, -1
_TAG_INT, _TAG_BOOL, _TAG_NULL, _TAG_UNDEFINED = 0, 1, 2, 3
_TAG_EXCEPTION, _TAG_SHORT_BIG_INT, _TAG_FLOAT = 6, 7, 8
_EVAL_SCRIPT, _EVAL_MODULE, _EVAL_COMPILE_ONLY = 0, 1, 32
_BYTECODE = 1  # JS_WRITE_OBJ_BYTECODE and JS_READ_OBJ_BYTECODE
_STRIP_SOURCE = 1 << 4  # JS_WRITE_OBJ_STRIP_SOURCE
_ENUMERABLE_NAMES = (1 << 0) | (1 << 4)  # JS_GPN_STRING_MASK | JS_GPN_ENUM_ONLY
_DATA_PROPERTY = 7  # configurable, writable, enumerable
_GENERIC_MAGIC = 1
_NATIVE_ARITY = 4  # the engine fills missing arguments up to this: no operation reads beyond
_PROMISE_PENDING, _PROMISE_REJECTED = 0, 2
_MAX_DEPTH = 64
_STEPS_PER_POLL = 10_000
_SMALL_ALLOCATION_BYTES = 2048
_MAX_SAFE_INTEGER = 2**53
_ERROR_HEADROOM_BYTES = 1 << 16
_SMALLEST_STACK_BYTES = 1 << 16

_get_ident = threading.get_ident
_monotonic = time.monotonic


class Thrown(Exception):
    """Raised by a host function: becomes a JavaScript exception of `kind` (`Error`, `TypeError`, ...)."""

    def __init__(self, message: str, kind: str = "Error") -> None:
        super().__init__(message)
        self.kind = kind


class Pending(Exception):
    """The engine holds an exception: a host function lets it pass, everyone else reads it with `take_exception`."""


class Timeout(Exception):
    """The script ran to its time limit, which `is_late` has noted; scripts cannot catch it."""


def running_deadline_s() -> float | None:
    """The monotonic time at which the script that runs now must end, None where none runs. For any thread to ask."""
    return max((context._deadline for context in tuple(_active.values())), default=None)


class Context:
    """One runtime with one context, used by one thread at a time.

    `host` is handed to every operation. `operations` are the host functions behind the one native function
    `native()`, chosen by its first argument. `load_module(name)` returns a module value, or raises. With a `memory`
    of its own, the whole runtime can be saved, and restored as it was.
    """

    def __init__(
        self,
        host: object,
        operations: Sequence[Operation],
        load_module: Callable[[str], Value],
        memory: Memory | None = None,
    ) -> None:
        self.host = host
        self.operations = operations
        self.load_module = load_module
        self.failure: BaseException | None = None
        self.interrupted = False
        self.make_error: Value | None = None
        self._deadline = 0.0
        self._polls = 0
        self._heap_bytes = self._stack_bytes = -1
        self._kept: list[Value] = []
        self._size = ffi.new("size_t *")
        self._argv = ffi.new("JSValue[2]")
        self._memory = memory
        self._saved: tuple[int, Value | None] | None = None
        self._runtime, self._context = _new_runtime(memory)
        self._outer: Context | None = None
        lib.JS_SetInterruptHandler(self._runtime, _interrupt, ffi.NULL)
        lib.JS_SetModuleLoaderFunc(self._runtime, _normalize, _load, ffi.NULL)

    def close(self) -> None:
        """Free everything. The context must not be used again."""
        if self._memory is not None:
            self._memory.close()
            return
        for value in self._kept:
            lib.JS_FreeValue(self._context, value)
        self._kept.clear()
        lib.JS_FreeContext(self._context)
        lib.JS_FreeRuntime(self._runtime)

    def save(self) -> bool:
        """Remember the runtime as it is, where it has a memory of its own. Nothing may be running."""
        if self._memory is None:
            return False
        lib.JS_RunGC(self._runtime)
        lib.JS_SetGCThreshold(self._runtime, self._memory.save() * 3 // 2)  # as a collection that is due would set it
        self._memory.save()
        self._saved = len(self._kept), self.make_error
        return True

    def restore(self) -> bool:
        """Make the runtime what it was when saved, if it was; values made since must not be used, nor freed."""
        if self._memory is None or self._saved is None:
            return False
        self._memory.restore()
        count, self.make_error = self._saved
        del self._kept[count:]
        self._heap_bytes = self._stack_bytes = -1  # limits are part of what was put back
        return True

    def enter(self, heap_bytes: int, stack_bytes: int, time_ms: int) -> None:
        """Begin to run scripts on this thread, within limits. Ends with `leave`."""
        ident = _get_ident()
        outer = self._outer = _active.get(ident)
        _active[ident] = self
        self.failure = None
        self.interrupted = False
        self._polls = 0
        lib.JS_UpdateStackTop(self._runtime)
        stack_bytes = max(1, min(stack_bytes, _available_stack_bytes(outer)))  # 0 would switch the check off
        heap_bytes = max(1, heap_bytes)
        if stack_bytes != self._stack_bytes:
            lib.JS_SetMaxStackSize(self._runtime, stack_bytes)
            self._stack_bytes = stack_bytes
        if heap_bytes != self._heap_bytes:
            lib.JS_SetMemoryLimit(self._runtime, heap_bytes)
            self._heap_bytes = heap_bytes
        self._deadline = _monotonic() + time_ms / 1000

    def leave(self) -> None:
        """End what `enter` began."""
        if self._outer is None:
            del _active[_get_ident()]
        else:
            _active[_get_ident()] = self._outer
            self._outer = None

    def is_late(self) -> bool:
        """Whether the time limit has passed, also where no script was interrupted by it."""
        if self.interrupted or _monotonic() >= self._deadline:
            self.interrupted = True
        return self.interrupted

    def poll(self) -> bool:
        """Asked by the engine now and then: whether the script must stop."""
        self._polls += 1
        return self.failure is not None or self.is_late()

    # Running

    def native(self) -> Value:
        """The native function: its first argument is the index of an operation."""
        return self.check(lib.JS_NewCFunction2(self._context, _host, b"host", _NATIVE_ARITY, _GENERIC_MAGIC, 0))

    def compile_script(self, source: bytes, name: str) -> Value:
        """Compile a script without running it."""
        return self._eval(source, name, _EVAL_SCRIPT | _EVAL_COMPILE_ONLY)

    def compile_module(self, source: bytes, name: str) -> Value:
        """Compile a module; this loads what it imports."""
        return self._eval(source, name, _EVAL_MODULE | _EVAL_COMPILE_ONLY)

    def write_bytecode(self, compiled: Value, *, strip_source: bool = False) -> bytes:
        """The bytecode of a compiled script or module, for this engine build only."""
        flags = _BYTECODE | (_STRIP_SOURCE if strip_source else 0)
        data = lib.JS_WriteObject(self._context, self._size, compiled, flags)
        if data == ffi.NULL:
            raise Pending
        try:
            return bytes(ffi.buffer(data, self._size[0]))
        finally:
            lib.js_free(self._context, data)

    def read_bytecode(self, data: bytes) -> Value:
        """A compiled script or module from bytecode that this process wrote: the engine does not verify it."""
        return self.check(lib.JS_ReadObject(self._context, data, len(data), _BYTECODE))

    def run_script(self, compiled: Value) -> Value:
        """Run a compiled script; frees it."""
        return self.check(lib.JS_EvalFunction(self._context, compiled))

    def resolve_module(self, module: Value) -> None:
        """Load what a module from `read_bytecode` imports. When this fails the module is gone."""
        if lib.JS_ResolveModule(self._context, module) < 0:
            raise Pending

    def evaluate_module(self, module: Value) -> Value:
        """Link and evaluate a module; returns a promise. Raises `Pending` only where linking fails."""
        # The engine takes one reference each time and aborts the process when none is left.
        return self.check(lib.JS_EvalFunction(self._context, lib.JS_DupValue(self._context, module)))

    def export(self, module: Value, name: str) -> Value:
        """A module's export, `UNDEFINED` where it has none."""
        namespace = self.check(lib.JS_GetModuleNamespace(self._context, ffi.cast("JSModuleDef *", module.u)))
        try:
            return self.property(namespace, name)
        finally:
            lib.JS_FreeValue(self._context, namespace)

    def call(self, function: Value, arguments: Sequence[Value]) -> Value:
        """Call a function; frees the arguments."""
        argv = ffi.new("JSValue[]", arguments) if arguments else ffi.NULL
        result = lib.JS_Call(self._context, function, UNDEFINED, len(arguments), argv)
        for argument in arguments:
            lib.JS_FreeValue(self._context, argument)
        if result.tag == _TAG_EXCEPTION:
            raise Pending
        return result

    def call_with(self, function: Value, arguments: Sequence[object]) -> Value:
        """Call a function with Python values."""
        values: list[Value] = []
        try:
            for argument in arguments:
                values.append(self.from_python(argument))
        except BaseException:
            for value in values:
                self.free(value)
            raise
        return self.call(function, values)

    def call_kept(self, function: Value, kept: Value, argument: Value) -> Value:
        """Call a function with a value that stays ours and one that does not: the way of every request."""
        argv = self._argv
        argv[0] = kept
        argv[1] = argument
        result = lib.JS_Call(self._context, function, UNDEFINED, 2, argv)
        lib.JS_FreeValue(self._context, argument)
        if result.tag == _TAG_EXCEPTION:
            raise Pending
        return result

    def has_jobs(self) -> bool:
        """Whether the job queue holds something."""
        return bool(lib.JS_IsJobPending(self._runtime))

    def run_jobs(self) -> None:
        """Run the job queue until it is empty; rejections of promises nobody waits for are dropped."""
        runtime = self._runtime
        if not self.has_jobs():
            return
        context = ffi.new("JSContext **")
        while (outcome := lib.JS_ExecutePendingJob(runtime, context)) != 0:
            if outcome < 0:
                self.free(lib.JS_GetException(self._context))
            if self.interrupted or self.failure is not None or self.is_late():
                raise Timeout

    def settle(self, value: Value) -> Value:
        """Run the job queue; the value of a fulfilled promise, or `value` itself. Frees a promise.

        Raises `Pending` where the promise was rejected, `Thrown` where it can never settle.
        """
        state = lib.JS_PromiseState(self._context, value) if value.tag == _TAG_OBJECT else -1
        self.run_jobs()
        if state < 0:
            return value
        state = lib.JS_PromiseState(self._context, value)
        result = lib.JS_PromiseResult(self._context, value) if state != _PROMISE_PENDING else UNDEFINED
        lib.JS_FreeValue(self._context, value)
        if state == _PROMISE_PENDING:
            raise Thrown("the returned promise is never settled")
        if state == _PROMISE_REJECTED:
            lib.JS_Throw(self._context, result)
            raise Pending
        return result

    def take_exception(self) -> tuple[str, str | None]:
        """Take the engine's exception: its text and, for an `Error`, its trace.

        The text may come from the script's own `toString`, so this runs within the limits and falls back to
        fixed words. A little extra heap lets an out-of-memory error still be read.
        """
        exception = lib.JS_GetException(self._context)
        lib.JS_SetMemoryLimit(self._runtime, self._heap_bytes + _ERROR_HEADROOM_BYTES)
        try:
            return self._describe(exception)
        finally:
            lib.JS_FreeValue(self._context, exception)
            lib.JS_SetMemoryLimit(self._runtime, self._heap_bytes)

    # Values

    def keep(self, value: Value) -> Value:
        """Hold `value` until `close`."""
        self._kept.append(value)
        return value

    def free(self, value: Value) -> None:
        """Give `value` back to the engine."""
        lib.JS_FreeValue(self._context, value)

    def check(self, value: Value) -> Value:
        """Pass `value` on; raises `Pending` where it marks an exception."""
        if value.tag == _TAG_EXCEPTION:
            raise Pending
        return value

    def text(self, value: Value) -> str:
        """The text of a value, by JavaScript's rules; lone surrogates become U+FFFD."""
        return self.utf8(value).decode("utf-8", "replace")

    def utf8(self, value: Value) -> bytes:
        """The text of a value in UTF-8."""
        chars = lib.JS_ToCStringLen2(self._context, self._size, value, False)
        if not chars:
            raise Pending
        data: bytes = ffi.unpack(chars, self._size[0])
        lib.JS_FreeCString(self._context, chars)
        return data

    def buffer(self, value: Value) -> bytes:
        """A copy of an ArrayBuffer's bytes; `Pending` (a TypeError) for anything else, detached ones too."""
        data = lib.JS_GetArrayBuffer(self._context, self._size, value)
        size = self._size[0]
        if size:
            content: bytes = ffi.unpack(data, size)
            return content
        if not data and lib.JS_HasException(self._context):
            raise Pending
        return b""

    def property(self, value: Value, name: str) -> Value:
        """A property of an object; runs its getter."""
        atom = self._atom(name)
        try:
            return self.check(lib.JS_GetProperty(self._context, value, atom))
        finally:
            lib.JS_FreeAtom(self._context, atom)

    def is_function(self, value: Value) -> bool:
        """Whether `value` can be called."""
        return bool(value.tag == _TAG_OBJECT and lib.JS_IsFunction(self._context, value))

    def item(self, value: Value, index: int) -> Value:
        """An element of an array."""
        return self.check(lib.JS_GetPropertyInt64(self._context, value, index))

    def new_text(self, text: str) -> Value:
        """A string."""
        raw = text.encode("utf-8", "replace")
        return self.check(lib.JS_NewStringLen(self._context, raw, len(raw)))

    def new_text_utf8(self, data: bytes) -> Value:
        """A string from UTF-8; what is invalid becomes U+FFFD."""
        return self.check(lib.JS_NewStringLen(self._context, data, len(data)))

    def new_buffer(self, data: bytes) -> Value:
        """An ArrayBuffer with a copy of `data`."""
        return self.check(lib.JS_NewArrayBufferCopy(self._context, data, len(data)))

    def parse_json(self, data: bytes, name: bytes) -> Value:
        """The value of a JSON text in UTF-8; `Pending` (a SyntaxError) for anything else."""
        return self.check(lib.JS_ParseJSON(self._context, data, len(data), name))

    def to_python(self, value: Value, depth: int = 0) -> Any:
        """A Python value: undefined, null and functions become None, buffers and typed arrays bytes.

        Raises `Pending` where a getter throws, `Thrown` for what nests too deep or has no counterpart.
        """
        tag = value.tag
        if tag in _PLAIN:
            return _PLAIN[tag](value.u)
        if tag in (_TAG_STRING, _TAG_ROPE):
            return self.text(value)
        if tag in (_TAG_BIG_INT, _TAG_SHORT_BIG_INT):
            return int(self.text(value))
        if tag != _TAG_OBJECT:
            raise Thrown("a symbol cannot be passed to the host", "TypeError")
        if depth > _MAX_DEPTH:
            raise Thrown("the value nests too deep", "TypeError")
        return self._object_to_python(value, depth)

    def consume(self, value: Value) -> Any:
        """`to_python`, and free the value."""
        return self._taken(value, 0)

    def text_and_buffer(self, value: Value) -> tuple[bytes, bytes]:
        """The two elements of an array: a text in UTF-8, and the bytes of a buffer or of a typed array."""
        text = self.item(value, 0)
        buffer = self.item(value, 1)
        try:
            viewed = lib.JS_GetTypedArrayType(buffer) >= 0
            return self.utf8(text), self._view_bytes(buffer) if viewed else self.buffer(buffer)
        finally:
            self.free(text)
            self.free(buffer)

    def from_python(self, value: object, depth: int = 0) -> Value:
        """A JavaScript value: bytes become an ArrayBuffer, None undefined (null inside lists and mappings)."""
        match value:
            case None:
                return UNDEFINED if depth == 0 else NULL
            case bool():
                return TRUE if value else FALSE
            case int() if -(2**31) <= value < 2**31:
                return new_int(value)
            case int() if abs(value) > _MAX_SAFE_INTEGER:
                raise ValueError("the integer does not fit a JavaScript number")
            case int() | float():
                return ffi.new("JSValue *", (_float_bits(float(value)), _TAG_FLOAT))[0]
            case str():
                return self.new_text(value)
            case bytes():
                return self.new_buffer(value)
            case list() | tuple():
                return self._new_array(value, depth + 1)
            case Mapping():
                return self._new_object(value, depth + 1)
        raise TypeError(f"{type(value).__name__} has no JavaScript counterpart")

    def throw(self, kind: str, message: str) -> Value:
        """Throw an error of a built-in kind; returns the exception marker."""
        if self.make_error is None:
            return self.abort()
        try:
            error = self.call_with(self.make_error, (kind, message))
        except Pending:
            return EXCEPTION
        return lib.JS_Throw(self._context, error)

    def abort(self) -> Value:
        """End the script by an exception it cannot catch; returns the exception marker."""
        error = lib.JS_NewError(self._context)
        if error.tag == _TAG_EXCEPTION:
            return EXCEPTION  # no room for an error; `failure` or `interrupted` stops the script at its next poll
        lib.JS_SetUncatchableError(self._context, error)
        return lib.JS_Throw(self._context, error)

    def _eval(self, source: bytes, name: str, flags: int) -> Value:
        return self.check(lib.JS_Eval(self._context, source, len(source), name.encode(), flags))

    def _describe(self, exception: Value) -> tuple[str, str | None]:
        trace = None
        if exception.tag == _TAG_NULL and self._heap_was_full():
            return OUT_OF_MEMORY, None
        try:
            reason = self.text(exception)
        except Pending:
            self.free(lib.JS_GetException(self._context))
            reason = UNPRINTABLE
        if lib.JS_IsError(exception) and not self.interrupted:
            try:
                stack = self.property(exception, "stack")
                trace = self.text(stack) if stack.tag in (_TAG_STRING, _TAG_ROPE) else None
                self.free(stack)
            except Pending:
                self.free(lib.JS_GetException(self._context))
        return reason, trace

    def _heap_was_full(self) -> bool:
        """Whether a thrown null is the engine's, which throws one where an error object finds no room.

        By now the script's objects are gone, so the heap tells nothing. But the collector sets its threshold to one
        and a half times what it found alive; and what it does not count takes time: the engine polls once for so many
        steps, each of which leaves at most a small allocation (a failed larger one leaves room for the error).
        """
        reached = self._polls * _STEPS_PER_POLL * _SMALL_ALLOCATION_BYTES
        return bool(max(reached, lib.JS_GetGCThreshold(self._runtime)) >= self._heap_bytes)

    def _object_to_python(self, value: Value, depth: int) -> object:
        if lib.JS_IsArrayBuffer(value):
            return self.buffer(value)
        if lib.JS_GetTypedArrayType(value) >= 0:
            return self._view_bytes(value)
        if lib.JS_IsFunction(self._context, value):
            return None
        if lib.JS_IsArray(value):
            return self._array_to_python(value, depth)
        return self._properties_to_python(value, depth)

    def _view_bytes(self, value: Value) -> bytes:
        sizes = ffi.new("size_t[3]")
        buffer = self.check(lib.JS_GetTypedArrayBuffer(self._context, value, sizes, sizes + 1, sizes + 2))
        try:
            return self.buffer(buffer)[sizes[0] : sizes[0] + sizes[1]]
        finally:
            self.free(buffer)

    def _array_to_python(self, value: Value, depth: int) -> list[object]:
        length = ffi.new("int64_t *")
        if lib.JS_GetLength(self._context, value, length) < 0:
            raise Pending
        items = []
        for index in range(length[0]):
            if self.is_late():
                raise Timeout
            items.append(self._taken(self.item(value, index), depth + 1))
        return items

    def _properties_to_python(self, value: Value, depth: int) -> dict[str, object]:
        names, count = ffi.new("JSPropertyEnum **"), ffi.new("uint32_t *")
        if lib.JS_GetOwnPropertyNames(self._context, names, count, value, _ENUMERABLE_NAMES) < 0:
            raise Pending
        try:
            result: dict[str, object] = {}
            for index in range(count[0]):
                if self.is_late():
                    raise Timeout
                atom = names[0][index].atom
                found = self.check(lib.JS_GetProperty(self._context, value, atom))
                result[self._atom_text(atom)] = self._taken(found, depth + 1)
            return result
        finally:
            lib.JS_FreePropertyEnum(self._context, names[0], count[0])

    def _taken(self, value: Value, depth: int) -> object:
        try:
            return self.to_python(value, depth)
        finally:
            self.free(value)

    def _atom_text(self, atom: int) -> str:
        chars = lib.JS_AtomToCStringLen(self._context, self._size, atom)
        if not chars:
            raise Pending
        data: bytes = ffi.unpack(chars, self._size[0])
        lib.JS_FreeCString(self._context, chars)
        return data.decode("utf-8", "replace")

    def _new_array(self, items: Sequence[object], depth: int) -> Value:
        array = self.check(lib.JS_NewArray(self._context))
        for index, item in enumerate(items):
            element = self._part(item, depth, array)
            done = lib.JS_DefinePropertyValueUint32(self._context, array, index, element, _DATA_PROPERTY)
            self._check_defined(done, array)
        return array

    def _new_object(self, items: Mapping[str, object], depth: int) -> Value:
        result = self.check(lib.JS_NewObject(self._context))
        for name, item in items.items():
            element = self._part(item, depth, result)
            try:
                atom = self._atom(name)
            except Pending:
                self.free(element)
                self.free(result)
                raise
            done = lib.JS_DefinePropertyValue(self._context, result, atom, element, _DATA_PROPERTY)
            lib.JS_FreeAtom(self._context, atom)
            self._check_defined(done, result)
        return result

    def _check_defined(self, outcome: int, whole: Value) -> None:
        if outcome < 0:
            self.free(whole)
            raise Pending

    def _atom(self, name: str) -> int:
        raw = name.encode("utf-8", "replace")
        atom: int = lib.JS_NewAtomLen(self._context, raw, len(raw))
        if atom == 0:
            raise Pending
        return atom

    def _part(self, item: object, depth: int, whole: Value) -> Value:
        try:
            return self.from_python(item, depth)
        except BaseException:
            self.free(whole)
            raise


def new_int(value: int) -> Value:
    """An integer of 32 bits."""
    return ffi.new("JSValue *", (value & 0xFFFFFFFF, _TAG_INT))[0]


def as_int(value: Value) -> int:
    """The integer a trusted caller passed; other values give an arbitrary one."""
    return int(value.u) & 0xFFFFFFFF


def as_bool(value: Value) -> bool:
    """A JavaScript boolean; raises `Thrown` (a TypeError) for anything else."""
    if value.tag != _TAG_BOOL:
        raise Thrown("the argument must be a boolean", "TypeError")
    return bool(value.u & 1)


def is_text(value: Value) -> bool:
    """Whether `value` is a string."""
    return value.tag in (_TAG_STRING, _TAG_ROPE)


def is_object(value: Value) -> bool:
    """Whether `value` is an object: functions and buffers too, null not."""
    return bool(value.tag == _TAG_OBJECT)


def is_number(value: Value) -> bool:
    """Whether `value` is a number; a BigInt is none."""
    return value.tag in (_TAG_INT, _TAG_FLOAT)


def is_absent(value: Value) -> bool:
    """Whether `value` is undefined or null."""
    return value.tag in (_TAG_UNDEFINED, _TAG_NULL)


def _float_bits(value: float) -> int:
    bits: int = struct.unpack("<Q", struct.pack("<d", value))[0]
    return bits


def _number(bits: int) -> int | float:
    value: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return int(value) if value.is_integer() and abs(value) <= _MAX_SAFE_INTEGER else value


def _signed(bits: int) -> int:
    low = bits & 0xFFFFFFFF
    return low - (1 << 32) if low & 0x80000000 else low


_PLAIN: Mapping[int, Callable[[int], Any]] = {
    _TAG_INT: _signed,
    _TAG_BOOL: lambda bits: bool(bits & 1),
    _TAG_NULL: lambda bits: None,
    _TAG_UNDEFINED: lambda bits: None,
    _TAG_FLOAT: _number,
}

_active: dict[int, Context] = {}
"""The context that runs on a thread: callbacks find it here, nested ones restore their outer."""


def _available_stack_bytes(outer: Context | None) -> int:
    """How much of this thread's stack scripts may use: half, and a quarter of that in each nested context."""
    share = thread_stack_bytes() // 2
    while outer is not None:
        share //= 4
        outer = outer._outer
    return max(share, _SMALLEST_STACK_BYTES)


def _new_runtime(memory: Memory | None) -> tuple[Any, Any]:
    if memory is None:
        runtime = lib.JS_NewRuntime()
    else:
        runtime = lib.JS_NewRuntime2(ffi.cast("void *", memory.functions), ffi.cast("void *", memory.handle))
    context = lib.JS_NewContext(runtime) if runtime else ffi.NULL
    if not context:
        raise MemoryError("no memory for a JavaScript runtime")
    return runtime, context


UNDEFINED: Value = ffi.new("JSValue *", (0, _TAG_UNDEFINED))[0]
NULL: Value = ffi.new("JSValue *", (0, _TAG_NULL))[0]
TRUE: Value = ffi.new("JSValue *", (1, _TAG_BOOL))[0]
FALSE: Value = ffi.new("JSValue *", (0, _TAG_BOOL))[0]
EXCEPTION: Value = ffi.new("JSValue *", (0, _TAG_EXCEPTION))[0]
OUT_OF_MEMORY = "InternalError: out of memory"
UNPRINTABLE = "the thrown value has no text"


def _call_operation(_context: Any, _this: Value, count: int, argv: Arguments, _magic: int) -> Value:
    context = _active[_get_ident()]
    try:
        return context.operations[argv[0].u & 0xFF](context.host, count, argv)
    except Pending:
        return EXCEPTION
    except Thrown as error:
        return context.throw(error.kind, str(error))
    except Timeout:
        return context.abort()
    except BaseException as error:
        context.failure = error
        return context.abort()


def _must_stop(_runtime: Any, _opaque: Any) -> int:
    return int(_active[_get_ident()].poll())


def _name_module(context: Any, importer: Any, specifier: Any, _opaque: Any) -> Any:
    active = _active[_get_ident()]
    try:
        name = resolve_specifier(
            ffi.string(importer).decode("utf-8", "replace"),
            ffi.string(specifier).decode("utf-8", "replace"),
        ).encode()
    except ValueError as error:
        active.throw("ReferenceError", str(error))
        return ffi.NULL
    return lib.js_strndup(context, name, len(name))


def _load_by_name(_context: Any, name: Any, _opaque: Any) -> Any:
    active = _active[_get_ident()]
    try:
        module = active.load_module(ffi.string(name).decode("utf-8", "replace"))
        return ffi.cast("JSModuleDef *", module.u)
    except Pending:
        pass
    except Thrown as error:
        active.throw(error.kind, str(error))
    except Timeout:
        active.abort()
    except BaseException as error:
        active.failure = error
        active.abort()
    return ffi.NULL


_host = ffi.callback("HostFunction", _call_operation, onerror=lambda *_: EXCEPTION)
_interrupt = ffi.callback("InterruptHandler", _must_stop, error=1, onerror=lambda *_: None)
_normalize = ffi.callback("Normalize", _name_module, onerror=lambda *_: None)
_load = ffi.callback("Load", _load_by_name, onerror=lambda *_: None)
"""The entries from C, made once for the process. Should Python fail outside their own `try`, they say so by their
result and print nothing: `onerror` silences cffi, which would write to stderr."""
