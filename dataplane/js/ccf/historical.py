"""`ccf.historical` and `ccf.historicalState`: transactions of the past, read by number (node-api.md 5.8).

The number of a state means something only during the call that was given it; the prelude sees to that.
"""

import json

from dataplane.errors import CcfError
from dataplane.js.ccf.kv import open_cursor, permissions, refused_outright
from dataplane.js.host import Access, Host, OpenState
from dataplane.js.quickjs import FALSE, TRUE, UNDEFINED, Arguments, Thrown, Value, as_int, is_absent
from dataplane.kv.tx import Tx
from dataplane.past import DEFAULT_EXPIRY_S, Historical


def past_range(host: Host, count: int, argv: Arguments) -> Value:
    """The states of a range, as text: the number of the first one and their transaction ids, or undefined."""
    context = host.context
    handle, first, last = (_natural(context.to_python(argv[index])) for index in (1, 2, 3))
    if not 0 < first <= last:
        raise Thrown(f"Failed to get state range: {first} to {last} is no range of seqnos", "InternalError")
    expiry_s: float = DEFAULT_EXPIRY_S
    if count > 4 and not is_absent(argv[4]):
        expiry_s = _natural(context.to_python(argv[4]))
    found = _history(host).states(handle, first, last, expiry_s)
    if found is None:
        return UNDEFINED
    number = len(host.invocation.states)
    host.invocation.states += [OpenState(state) for state in found]
    return context.new_text(" ".join((str(number), *(str(state.txid) for state in found))))


def past_drop(host: Host, _count: int, argv: Arguments) -> Value:
    """Forget what a handle keeps."""
    handle = _natural(host.context.to_python(argv[1]))
    return TRUE if _history(host).drop(handle) else FALSE


def past_current(host: Host, _count: int, _argv: Arguments) -> Value:
    """Whether the call itself is about a transaction of the past, which then has the number 0."""
    return TRUE if host.access is Access.APP_HISTORICAL else FALSE


def past_txid(host: Host, _count: int, argv: Arguments) -> Value:
    """The transaction id of a state."""
    return host.context.new_text(str(_open(host, argv).state.txid))


def past_receipt(host: Host, _count: int, argv: Arguments) -> Value:
    """The receipt of a state as JSON text, with what scripts are told besides (ledger-format.md 4.1)."""
    state = _open(host, argv).state
    try:
        receipt = state.receipt()
    except CcfError as error:
        raise Thrown(error.message) from error
    receipt["is_signature_transaction"] = state.is_signature
    if state.is_signature:
        receipt["root_hex"] = receipt["leaf"]
    return host.context.new_text(json.dumps(receipt))


def past_has(host: Host, _count: int, argv: Arguments) -> Value:
    """Whether the transaction wrote a value at a key."""
    tx, table = _table(host, argv, "has")
    return TRUE if tx.has(table, host.context.buffer(argv[3])) else FALSE


def past_get(host: Host, _count: int, argv: Arguments) -> Value:
    """The value the transaction wrote at a key."""
    tx, table = _table(host, argv, "get")
    value = tx.get(table, host.context.buffer(argv[3]))
    return UNDEFINED if value is None else host.context.new_buffer(value)


def past_version(host: Host, _count: int, argv: Arguments) -> Value:
    """The seqno of the transaction for keys it wrote."""
    tx, table = _table(host, argv, "getVersionOfPreviousWrite")
    return host.context.from_python(tx.version_of_previous_write(table, host.context.buffer(argv[3])))


def past_size(host: Host, _count: int, argv: Arguments) -> Value:
    """How many values the transaction wrote."""
    tx, table = _table(host, argv, "size")
    return host.context.from_python(tx.size(table))


def past_each(host: Host, _count: int, argv: Arguments) -> Value:
    """Begin to iterate over what the transaction wrote: the number of a cursor, for `kv_page`."""
    tx, table = _table(host, argv, "forEach")
    return open_cursor(host, tx, table)


def past_refuse(host: Host, _count: int, argv: Arguments) -> Value:
    """The past cannot be changed."""
    method, table = host.context.text(argv[1]), host.context.text(argv[2])
    raise refused_outright(table, method, "all tables are read-only in a historical state")


def _history(host: Host) -> Historical:
    if host.invocation.history is None:
        raise Thrown("ccf.historical is not served in this context")
    return host.invocation.history


def _open(host: Host, argv: Arguments) -> OpenState:
    states, number = host.invocation.states, as_int(argv[1])
    if number >= len(states):
        raise Thrown("The historical state belongs to a request that is over")
    return states[number]


def _table(host: Host, argv: Arguments, method: str) -> tuple[Tx, str]:
    opened, table = _open(host, argv), host.context.text(argv[2])
    readable, _ = permissions(host.access, table)
    if not readable:
        raise refused_outright(table, method, f"the table is inaccessible in the {host.access.value} context")
    return opened.tx(), table


def _natural(value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Thrown("Argument must be an integer", "TypeError")
    if value < 0:
        raise Thrown("Invalid handle or seqno or expiry: cannot be negative", "RangeError")
    return value
