"""`ccf.kv`: tables of the call's transaction, within what the context may touch (node-api.md 5.6)."""

import struct
from collections.abc import Iterator

from dataplane.js.host import Access, Host, Table
from dataplane.js.quickjs import FALSE, TRUE, UNDEFINED, Arguments, Thrown, Value, as_int, new_int
from dataplane.kv.tx import Tx

_DOCUMENTATION = "https://microsoft.github.io/CCF/main/audit/read_write_restrictions.html"
_PAGE_BYTES = 1 << 16
_NOTHING, _READ, _WRITE, _ALL = (False, False), (True, False), (False, True), (True, True)

_RULES: dict[Access, tuple[tuple[bool, bool], ...]] = {
    # public:ccf.gov.*, public:ccf.internal.*, public application tables, private application tables
    Access.GOV_READ_ONLY: (_READ, _READ, _NOTHING, _NOTHING),
    Access.GOV_READ_WRITE: (_ALL, _READ, _WRITE, _NOTHING),
    Access.APP_READ_WRITE: (_READ, _READ, _ALL, _ALL),
    Access.APP_READ_ONLY: (_READ, _READ, _READ, _READ),
    Access.APP_HISTORICAL: (_READ, _READ, _READ, _READ),
}


def permissions(access: Access, table: str) -> tuple[bool, bool]:
    """Whether a table may be (read, written); reserved names may not be used at all."""
    governance, internal, public, private = _RULES[access]
    if table.startswith("public:ccf.gov."):
        return governance
    if table.startswith("public:ccf.internal."):
        return internal
    if table.startswith(("public:ccf.", "ccf.")):
        return _NOTHING
    return public if table.startswith("public:") else private


def kv_table(host: Host, _count: int, argv: Arguments) -> Value:
    """The number of a table, by its name."""
    name = host.context.text(argv[1])
    number = host.table_ids.get(name)
    if number is None:
        number = host.table_ids[name] = len(host.tables)
        host.tables.append(_describe(host.access, name))
    return new_int(number)


def kv_has(host: Host, _count: int, argv: Arguments) -> Value:
    """Whether a key holds a value."""
    tx, table = _readable(host, argv, "has")
    return TRUE if tx.has(table, host.context.buffer(argv[2])) else FALSE


def kv_get(host: Host, _count: int, argv: Arguments) -> Value:
    """The value of a key."""
    tx, table = _readable(host, argv, "get")
    value = tx.get(table, host.context.buffer(argv[2]))
    return UNDEFINED if value is None else host.context.new_buffer(value)


def kv_version(host: Host, _count: int, argv: Arguments) -> Value:
    """The seqno of the last committed write to a key."""
    tx, table = _readable(host, argv, "getVersionOfPreviousWrite")
    return host.context.from_python(tx.version_of_previous_write(table, host.context.buffer(argv[2])))


def kv_set(host: Host, _count: int, argv: Arguments) -> Value:
    """Write a value."""
    tx, table = _writable(host, argv, "set")
    tx.put(table, host.context.buffer(argv[2]), host.context.buffer(argv[3]))
    return UNDEFINED


def kv_delete(host: Host, _count: int, argv: Arguments) -> Value:
    """Remove a key."""
    tx, table = _writable(host, argv, "delete")
    tx.remove(table, host.context.buffer(argv[2]))
    return UNDEFINED


def kv_clear(host: Host, _count: int, argv: Arguments) -> Value:
    """Remove every key."""
    tx, table = _writable(host, argv, "clear")
    tx.clear(table)
    return UNDEFINED


def kv_size(host: Host, _count: int, argv: Arguments) -> Value:
    """How many keys hold a value."""
    tx, table = _readable(host, argv, "size")
    return host.context.from_python(tx.size(table))


def kv_open(host: Host, _count: int, argv: Arguments) -> Value:
    """Begin to iterate: the rows as they are now, by key. Answers the number of a cursor."""
    return open_cursor(host, *_readable(host, argv, "forEach"))


def open_cursor(host: Host, tx: Tx, table: str) -> Value:
    """The number of a new cursor over the rows of a table as they are now."""
    cursors = host.invocation.cursors
    cursors.append(iter(tx.items(table)))
    return new_int(len(cursors) - 1)


def kv_page(host: Host, _count: int, argv: Arguments) -> Value:
    """The next rows of a cursor in one buffer, undefined after the last.

    Layout, 32-bit native integers: count of rows, then size of key and size of value for each, then the bytes.
    """
    cursors = host.invocation.cursors
    number = as_int(argv[1])
    if number >= len(cursors):
        raise Thrown("The iteration belongs to a request that is over")
    page = _next_page(cursors[number])
    return UNDEFINED if page is None else host.context.new_buffer(page)


def _next_page(rows: Iterator[tuple[bytes, bytes]]) -> bytes | None:
    sizes, parts, total = [0], [b""], 0
    for key, value in rows:
        sizes += (len(key), len(value))
        parts += (key, value)
        total += len(key) + len(value)
        if total >= _PAGE_BYTES:
            break
    if len(sizes) == 1:
        return None
    sizes[0] = len(sizes) // 2
    parts[0] = struct.pack(f"={len(sizes)}I", *sizes)
    return b"".join(parts)


def _readable(host: Host, argv: Arguments, method: str) -> tuple[Tx, str]:
    table = host.tables[argv[1].u & 0xFFFFFFFF]
    if not table.readable:
        raise _refused(table, method)
    return host.tx(), table.name


def _writable(host: Host, argv: Arguments, method: str) -> tuple[Tx, str]:
    table = host.tables[argv[1].u & 0xFFFFFFFF]
    if not table.writable:
        raise _refused(table, method)
    return host.tx(), table.name


def _describe(access: Access, name: str) -> Table:
    readable, writable = permissions(access, name)
    kind = "read-only" if readable else "write-only" if writable else "inaccessible"
    return Table(name, readable, writable, f"the table is {kind} in the {access.value} context")


def _refused(table: Table, method: str) -> Thrown:
    return refused_outright(table.name, method, table.refusal)


def refused_outright(table: str, method: str, reason: str) -> Thrown:
    """The TypeError for a method that may not be called on a table."""
    return Thrown(f"Cannot call {method} on table {table}: {reason}. See {_DOCUMENTATION}", "TypeError")
