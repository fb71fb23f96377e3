"""QuickJS's C interface: its declarations, and the shared object of the `quickjs-ng` wheel that implements them.

Opened through cffi without a compiler. A `JSValue` is declared as its two 64-bit words (payload and tag), which holds
on every 64-bit platform. The declarations belong to one exact release: another is refused, as is a missing symbol.
"""

import ctypes
import importlib.util
from importlib import metadata
from pathlib import Path
from typing import Any

import cffi

REQUIRED_VERSION = "0.17.0.2"
ENGINE_VERSION = f"quickjs-ng {REQUIRED_VERSION}"
"""Names engine and exact build, as `modules_quickjs_version` stores it (node-api.md 5.2)."""

_DECLARATIONS = """
typedef struct { uint64_t u; int64_t tag; } JSValue;
typedef struct JSRuntime JSRuntime;
typedef struct JSContext JSContext;
typedef struct JSModuleDef JSModuleDef;
typedef uint32_t JSAtom;
typedef struct { bool is_enumerable; JSAtom atom; } JSPropertyEnum;
typedef JSValue HostFunction(JSContext *, JSValue, int, JSValue *, int);
typedef int InterruptHandler(JSRuntime *, void *);
typedef char *Normalize(JSContext *, const char *, const char *, void *);
typedef JSModuleDef *Load(JSContext *, const char *, void *);

const char *JS_GetVersion(void);
JSRuntime *JS_NewRuntime(void);
JSRuntime *JS_NewRuntime2(const void *, void *);
void JS_FreeRuntime(JSRuntime *);
JSContext *JS_NewContext(JSRuntime *);
void JS_FreeContext(JSContext *);
void JS_SetMemoryLimit(JSRuntime *, size_t);
size_t JS_GetGCThreshold(JSRuntime *);
void JS_SetGCThreshold(JSRuntime *, size_t);
void JS_RunGC(JSRuntime *);
void JS_SetMaxStackSize(JSRuntime *, size_t);
void JS_UpdateStackTop(JSRuntime *);
void JS_SetInterruptHandler(JSRuntime *, InterruptHandler *, void *);
void JS_SetModuleLoaderFunc(JSRuntime *, Normalize *, Load *, void *);

JSValue JS_Eval(JSContext *, const char *, size_t, const char *, int);
JSValue JS_EvalFunction(JSContext *, JSValue);
JSValue JS_Call(JSContext *, JSValue, JSValue, int, JSValue *);
int JS_ResolveModule(JSContext *, JSValue);
JSValue JS_GetModuleNamespace(JSContext *, JSModuleDef *);
uint8_t *JS_WriteObject(JSContext *, size_t *, JSValue, int);
JSValue JS_ReadObject(JSContext *, const char *, size_t, int);
bool JS_IsJobPending(JSRuntime *);
int JS_ExecutePendingJob(JSRuntime *, JSContext **);
int JS_PromiseState(JSContext *, JSValue);
JSValue JS_PromiseResult(JSContext *, JSValue);

JSValue JS_GetException(JSContext *);
bool JS_HasException(JSContext *);
bool JS_IsError(JSValue);
JSValue JS_Throw(JSContext *, JSValue);
JSValue JS_NewError(JSContext *);
void JS_SetUncatchableError(JSContext *, JSValue);
void JS_FreeValue(JSContext *, JSValue);
JSValue JS_DupValue(JSContext *, JSValue);
void js_free(JSContext *, void *);
char *js_strndup(JSContext *, const char *, size_t);

JSValue JS_GetGlobalObject(JSContext *);
JSValue JS_NewStringLen(JSContext *, const char *, size_t);
const char *JS_ToCStringLen2(JSContext *, size_t *, JSValue, bool);
void JS_FreeCString(JSContext *, const char *);
JSValue JS_ParseJSON(JSContext *, const char *, size_t, const char *);
JSValue JS_NewArrayBufferCopy(JSContext *, const char *, size_t);
char *JS_GetArrayBuffer(JSContext *, size_t *, JSValue);
bool JS_IsArrayBuffer(JSValue);
int JS_GetTypedArrayType(JSValue);
JSValue JS_GetTypedArrayBuffer(JSContext *, JSValue, size_t *, size_t *, size_t *);
JSValue JS_NewCFunction2(JSContext *, HostFunction *, const char *, int, int, int);
JSValue JS_NewObject(JSContext *);
JSValue JS_NewArray(JSContext *);
bool JS_IsArray(JSValue);
bool JS_IsFunction(JSContext *, JSValue);
int JS_GetLength(JSContext *, JSValue, int64_t *);
JSAtom JS_NewAtomLen(JSContext *, const char *, size_t);
void JS_FreeAtom(JSContext *, JSAtom);
const char *JS_AtomToCStringLen(JSContext *, size_t *, JSAtom);
JSValue JS_GetProperty(JSContext *, JSValue, JSAtom);
JSValue JS_GetPropertyInt64(JSContext *, JSValue, int64_t);
int JS_DefinePropertyValue(JSContext *, JSValue, JSAtom, JSValue, int);
int JS_DefinePropertyValueUint32(JSContext *, JSValue, uint32_t, JSValue, int);
int JS_GetOwnPropertyNames(JSContext *, JSPropertyEnum **, uint32_t *, JSValue, int);
void JS_FreePropertyEnum(JSContext *, JSPropertyEnum *, uint32_t);
"""


def _open_library() -> tuple[Any, Any]:
    found = metadata.version("quickjs-ng")
    if found != REQUIRED_VERSION:
        raise ImportError(f"quickjs-ng {REQUIRED_VERSION} is required, {found} is installed")
    spec = importlib.util.find_spec("_quickjs")
    if spec is None or spec.origin is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise ImportError("the quickjs-ng wheel for a 64-bit platform is required")
    declarations: Any = cffi.FFI()
    declarations.cdef(_DECLARATIONS)
    library = declarations.dlopen(str(Path(spec.origin)))
    for name in dir(library):
        getattr(library, name)  # AttributeError names the missing symbol
    version = declarations.string(library.JS_GetVersion()).decode()
    if not REQUIRED_VERSION.startswith(version):
        raise ImportError(f"the engine calls itself {version}, expected {REQUIRED_VERSION}")
    return declarations, library


ffi, lib = _open_library()
