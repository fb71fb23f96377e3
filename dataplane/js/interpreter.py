"""Interpreters: fresh for a call, or kept under a key and used again (node-api.md 5.2 and 5.7)."""

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

from dataplane.js.bytecode import CompiledCode, Kind
from dataplane.js.ccf.prelude import OPERATIONS, prelude_source
from dataplane.js.host import Access, Console, Host, Invocation, Natives, Source
from dataplane.js.memory import Memory
from dataplane.js.modules import check_module_path, is_source_map
from dataplane.js.quickjs import Context, Pending, Thrown, Timeout, Value, is_text
from dataplane.js.traces import readable_trace
from dataplane.kv.tx import Tx

TIMEOUT_REASON = "Operation took too long to complete."
_REASONS = {"RangeError: Maximum call stack size exceeded": "InternalError: stack overflow"}
"""What this engine says, and the words the contract pins for it (node-api.md 5.4)."""
_EXHAUSTED = frozenset({"InternalError: stack overflow", "InternalError: out of memory"})
_MAX_TABLES = 10_000
"""An interpreter that has named more tables than this is not used again: the host remembers each."""

Parts = TypeVarTuple("Parts")
Result = TypeVar("Result")


class JsError(Exception):
    """A script failed: `reason` is the text of what it threw.

    `raw_trace` is the engine's stack where there is one, `source` the modules it speaks of.
    """

    def __init__(self, reason: str, raw_trace: str | None = None, source: Source | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.raw_trace = raw_trace
        self.source = source

    @property
    def trace(self) -> str | None:
        """The stack with the places in the files that were written; made when it is asked for."""
        if self.raw_trace is None:
            return None
        return readable_trace(self.raw_trace, self.source or _no_source)


class JsTimeout(JsError):
    """The time limit passed. `engine_reason` is the engine's own word for it."""

    engine_reason = "InternalError: interrupted"

    def __init__(self) -> None:
        super().__init__(TIMEOUT_REASON)


class JsLoadError(JsError):
    """A module could not be brought to the point where its function can be called."""


class JsCompileError(JsLoadError):
    """A module is not JavaScript, or imports what another does not export."""


class JsModuleNotFound(JsLoadError):
    """There is no module of this name."""


class JsExportNotFound(JsLoadError):
    """The module exports no function of this name."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a call may use: heap and stack in bytes, time in milliseconds (defaults of node-api.md 5.7)."""

    max_heap_bytes: int = 104857600
    max_stack_bytes: int = 1048576
    max_execution_time_ms: int = 5000

    def at_least_default(self) -> "Limits":
        """The limits governance scripts get: never below the defaults."""
        least = DEFAULT_LIMITS
        return Limits(
            max(self.max_heap_bytes, least.max_heap_bytes),
            max(self.max_stack_bytes, least.max_stack_bytes),
            max(self.max_execution_time_ms, least.max_execution_time_ms),
        )


DEFAULT_LIMITS = Limits()


def call(
    source: Source,
    module: str,
    function: str,
    args: Sequence[object],
    *,
    tx: Tx | None,
    access: Access,
    limits: Limits,
    natives: Natives,
    console: Console,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> object:
    """Call an exported function in a fresh interpreter; the result as a Python value, undefined as None.

    Raises a `JsError`; what a native raises beyond `CcfError`, `ValueError` and `TypeError` passes through.
    """
    interpreter = Interpreter(access)
    try:
        return interpreter.call(module, function, args, Invocation(source, tx, natives, console, random_bytes), limits)
    finally:
        interpreter.close()


def exported_arity(source: Source, module: str, function: str, limits: Limits) -> object:
    """How many parameters an exported function declares; raises a `JsError`.

    The module is evaluated without a transaction and without natives.
    """
    interpreter = Interpreter(Access.GOV_READ_ONLY)
    try:
        return interpreter.arity(module, function, Invocation(source, None, {}, _no_console, os.urandom), limits)
    finally:
        interpreter.close()


def compile_modules(modules: Mapping[str, str | bytes], limits: Limits = DEFAULT_LIMITS) -> dict[str, bytes]:
    """The bytecode of every module, by path without leading `/`; raises a `JsError` for the first that fails.

    Nothing is evaluated, and source maps among the modules are left out. The bytecode is for the record (node-api.md
    5.2): this process runs what it keeps itself.
    """
    interpreter = Interpreter(Access.GOV_READ_ONLY)
    try:
        invocation = Invocation(modules.get, None, {}, _no_console, os.urandom)
        code = {name: text for name, text in modules.items() if not is_source_map(name)}
        return interpreter.compile(code, invocation, limits)
    finally:
        interpreter.close()


def _module_name(path: str) -> str:
    try:
        return check_module_path(path)
    except ValueError as error:
        raise JsModuleNotFound(str(error)) from None


def _no_console(level: str, text: str) -> None:
    """For scripts that nobody listens to."""


class Interpreter:
    """One runtime with its `ccf` global. `broken` tells that it must not be used again.

    With a `memory` of its own it remembers itself as it is before any application code has run, for `restore`.
    """

    def __init__(self, access: Access, memory: Memory | None = None) -> None:
        self.host = Host(access)
        self.context = self.host.context = Context(self.host, OPERATIONS, self._load, memory)
        self.host.load_rare = self._rare
        self.broken = False
        self._dispatch: Value | None = None
        self._modules: dict[str, Value] = {}
        self._evaluated: set[str] = set()
        self._functions: dict[tuple[str, str], Value] = {}
        self._failed: tuple[type[JsLoadError], str] | None = None
        self._saved_modules: dict[str, Value] = {}

    def close(self) -> None:
        """Free the runtime."""
        self.context.close()

    def restore(self) -> bool:
        """Become again what this was before any application code; whether that is possible."""
        if not self.context.restore():
            return False
        self.broken = False
        self.host.forget()
        self._modules = dict(self._saved_modules)
        self._evaluated.clear()
        self._functions.clear()
        return True

    def call(
        self, module: str, function: str, args: Sequence[object], invocation: Invocation, limits: Limits
    ) -> object:
        """Call an exported function with Python values."""
        return self._within(invocation, limits, self._call, module, function, args)

    def arity(self, module: str, function: str, invocation: Invocation, limits: Limits) -> object:
        """The `length` of an exported function."""
        return self._within(invocation, limits, self._arity, module, function)

    def respond(
        self, module: str, function: str, request: str, invocation: Invocation, limits: Limits
    ) -> tuple[bytes, bytes]:
        """Call an application's function: the first line of its packed answer, and the body (see `prelude.js`).

        `request` is the JSON text of [method, path, query, route, hostname, params].
        """
        return self._within(invocation, limits, self._respond, module, function, request)

    def compile(self, modules: Mapping[str, str | bytes], invocation: Invocation, limits: Limits) -> dict[str, bytes]:
        """The bytecode of modules, none of which is evaluated."""
        return self._within(invocation, limits, self._compile, modules)

    def _within(
        self, invocation: Invocation, limits: Limits, work: Callable[[*Parts], Result], *parts: *Parts
    ) -> Result:
        context = self.context
        self.host.invocation = invocation
        context.enter(limits.max_heap_bytes, limits.max_stack_bytes, limits.max_execution_time_ms)
        try:
            result = work(*parts)
            if context.is_late():
                raise Timeout
            return result
        except JsLoadError:
            self.broken = True
            raise
        except (Pending, Thrown, Timeout) as error:
            raise self._translate(error) from None
        finally:
            context.leave()
            self.host.invocation = _IDLE

    def _call(self, module: str, function: str, args: Sequence[object]) -> object:
        context = self.context
        answer = context.call_with(self._function(module, function), args)
        return context.consume(context.settle(answer))

    def _arity(self, module: str, function: str) -> object:
        context = self.context
        return context.consume(context.property(self._function(module, function), "length"))

    def _respond(self, module: str, function: str, request: str) -> tuple[bytes, bytes]:
        context = self.context
        handler = self._functions.get((module, function)) or self._function(module, function)
        answer = context.settle(context.call_kept(self._dispatch, handler, context.new_text(request)))
        try:
            if not is_text(answer):
                return context.text_and_buffer(answer)
            head, _, body = context.utf8(answer).partition(b"\n")
            return head, body
        finally:
            context.free(answer)

    def _compile(self, modules: Mapping[str, str | bytes]) -> dict[str, bytes]:
        result = {}
        for name in modules:
            try:
                module = self._modules.get(name) or self._load(name)
                self.context.resolve_module(module)
            except Pending:
                raise self._load_failure(name) from None
            result[name] = self.context.write_bytecode(module)
        return result

    def _function(self, module: str, function: str) -> Value:
        known = self._functions.get((module, function))
        if known is not None:
            return known
        if self._dispatch is None:
            self._prepare()
        context = self.context
        found = context.export(self._module(_module_name(module)), function)
        if not context.is_function(found):
            context.free(found)
            raise JsExportNotFound(f"Failed to find export '{function}' in module '{module}'")
        self._functions[module, function] = context.keep(found)
        return found

    def _prepare(self) -> None:
        context = self.context
        build = context.run_script(_code.load(context, Kind.SCRIPT, "<host>", _PRELUDE))
        try:
            parts = context.call(build, [context.native()])
        finally:
            context.free(build)
        try:
            self._dispatch, install, context.make_error = (
                context.keep(context.item(parts, index)) for index in range(3)
            )
        finally:
            context.free(parts)
        if self.host.invocation.natives:
            context.free(context.call_with(install, ["\n".join(self.host.invocation.natives)]))

    def _rare(self) -> Value:
        return self.context.run_script(_code.load(self.context, Kind.SCRIPT, "<host>", _RARE))

    def _module(self, name: str) -> Value:
        """A module by its name, loaded and evaluated."""
        context = self.context
        known = self._modules.get(name)
        if known is not None and name in self._evaluated:
            return known
        self._failed = None
        was_broken, self.broken = self.broken, True  # a module that failed once cannot be evaluated again
        try:
            module = self._load(name) if known is None else known
            context.resolve_module(module)
            if known is None and not self._evaluated and context.save():
                self._saved_modules = dict(self._modules)
            promise = context.evaluate_module(module)
        except Pending:
            raise self._load_failure(name) from None
        except Thrown:
            raise JsModuleNotFound(f"Failed to find module '{name}'") from None
        context.free(context.settle(promise))
        self._evaluated.add(name)
        self.broken = was_broken
        return module

    def _load(self, name: str) -> Value:
        """Bring a module into the runtime: the engine asks for each name once."""
        text = self.host.invocation.source(name)
        if text is None:
            self._failed = self._failed or (JsModuleNotFound, name)
            raise Thrown(f"Failed to find module '{name}'", "ReferenceError")
        source = text.encode() if isinstance(text, str) else text
        try:
            module = _code.load(self.context, Kind.MODULE, name, source)
        except Pending:
            self._failed = self._failed or (JsCompileError, name)
            raise
        self._modules[name] = module
        return module

    def _load_failure(self, name: str) -> JsError:
        error = self._translate(Pending())
        if isinstance(error, JsTimeout) or error.reason in _EXHAUSTED:
            return error
        self.broken = True
        kind, culprit = self._failed or (JsCompileError, name)
        if kind is JsModuleNotFound:
            return JsModuleNotFound(f"Failed to find module '{culprit}'")
        reason = f"Failed to compile module '{culprit}': {error.reason}"
        return JsCompileError(reason, error.raw_trace, error.source)

    def _translate(self, error: Pending | Thrown | Timeout) -> JsError:
        context = self.context
        self.broken = self.broken or context.has_jobs()  # they must not run in the next call's transaction
        late = isinstance(error, Timeout) or context.is_late()
        reason, trace = context.take_exception() if isinstance(error, Pending) and not late else ("", None)
        if context.failure is not None:
            self.broken = True
            raise context.failure
        if late or context.interrupted:
            self.broken = True
            return JsTimeout()
        if isinstance(error, Thrown):
            return JsError(f"{error.kind}: {error}")
        reason = _REASONS.get(reason, reason)
        self.broken = self.broken or reason in _EXHAUSTED
        return JsError(reason, trace, self.host.invocation.source)


class InterpreterCache:
    """Interpreters kept for reuse, by key and access; the least recently used go first (node-api.md 5.7).

    An interpreter is out of the cache while it runs, so nothing can use it twice at once.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, Access], Interpreter] = OrderedDict()

    def take(self, key: str, access: Access) -> Interpreter:
        """The interpreter of a key, or a new one."""
        return self._kept.pop((key, access), None) or Interpreter(access)

    def give_back(self, key: str, access: Access, interpreter: Interpreter, max_kept: int) -> None:
        """Keep an interpreter, unless it broke; at most `max_kept` stay."""
        if interpreter.broken or len(interpreter.host.tables) > _MAX_TABLES:
            interpreter.close()
            return
        other = self._kept.pop((key, access), None)
        if other is not None:
            other.close()
        self._kept[key, access] = interpreter
        while len(self._kept) > max(max_kept, 0):
            self._kept.popitem(last=False)[1].close()

    def clear(self) -> None:
        """Close every interpreter."""
        while self._kept:
            self._kept.popitem()[1].close()


def _no_source(_name: str) -> None:
    """For errors that speak of no module."""


_IDLE = Invocation(_no_source, None, {}, _no_console, os.urandom)
"""Between calls: lets go of the last call's transaction."""
_PRELUDE, _RARE = prelude_source(), prelude_source("prelude_rare.js")
_code = CompiledCode()
