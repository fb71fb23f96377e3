"""Write sets and their canonical bytes (ledger-format.md 1.5).

A write set maps table names (with their `public:` prefix) to keys to values; `None` stands for a removal. Equal
write sets have equal bytes: tables by name, then writes and removals each by key.
"""

from struct import Struct
from struct import error as StructError

WriteSet = dict[str, dict[bytes, bytes | None]]

PUBLIC_PREFIX = "public:"

_U64 = Struct("<Q")
_pack = _U64.pack
_unpack = _U64.unpack_from
_VERSION_AND_READS = bytes(16)  # read version and read count, always zero in what nodes write


class MalformedWriteSet(ValueError):
    """The bytes do not hold a sequence of maps."""


def is_public(table: str) -> bool:
    """Whether the table is written in clear."""
    return table.startswith(PUBLIC_PREFIX)


def split(writes: WriteSet) -> tuple[WriteSet, WriteSet]:
    """The public and the private part of a write set."""
    public: WriteSet = {}
    private: WriteSet = {}
    for table, rows in writes.items():
        (public if table.startswith(PUBLIC_PREFIX) else private)[table] = rows
    return public, private


def encode_maps(writes: WriteSet) -> bytes:
    """The canonical bytes of all tables of `writes`; tables without rows are left out."""
    parts: list[bytes] = []
    for table in sorted(writes):
        if writes[table]:
            _encode_map(table, writes[table], parts)
    return b"".join(parts)


def decode_maps(buffer: bytes, offset: int = 0) -> WriteSet:
    """Read maps from `offset` to the end of `buffer`.

    Raises `MalformedWriteSet` where a length points beyond the end, a table appears twice, or reads are listed.
    """
    writes: WriteSet = {}
    try:
        while offset < len(buffer):
            raw_name, offset = _take(buffer, offset)
            name = raw_name.decode()
            if name in writes:
                raise MalformedWriteSet(f"table {name} appears twice")
            if _unpack(buffer, offset + 8)[0] != 0:
                raise MalformedWriteSet(f"table {name} lists reads")
            writes[name], offset = _decode_rows(buffer, offset + 16)
    except (StructError, UnicodeDecodeError) as error:
        raise MalformedWriteSet(f"the maps end early or hold no text: {error}") from error
    return writes


def _encode_map(table: str, rows: dict[bytes, bytes | None], parts: list[bytes]) -> None:
    name = table.encode()
    if len(rows) == 1:
        ((key, value),) = rows.items()
        if value is not None:
            parts += (
                _pack(len(name)), name, _VERSION_AND_READS, _pack(1),
                _pack(len(key)), key, _pack(len(value)), value, _pack(0),
            )  # fmt: skip
            return
    puts = sorted((key, value) for key, value in rows.items() if value is not None)
    removes = sorted(key for key, value in rows.items() if value is None)
    parts += (_pack(len(name)), name, _VERSION_AND_READS, _pack(len(puts)))
    for key, value in puts:
        parts += (_pack(len(key)), key, _pack(len(value)), value)
    parts.append(_pack(len(removes)))
    for key in removes:
        parts += (_pack(len(key)), key)


def _decode_rows(buffer: bytes, offset: int) -> tuple[dict[bytes, bytes | None], int]:
    rows: dict[bytes, bytes | None] = {}
    (count,) = _unpack(buffer, offset)
    offset += 8
    for _ in range(count):
        key, offset = _take(buffer, offset)
        rows[key], offset = _take(buffer, offset)
    (count,) = _unpack(buffer, offset)
    offset += 8
    for _ in range(count):
        key, offset = _take(buffer, offset)
        rows[key] = None
    return rows, offset


def _take(buffer: bytes, offset: int) -> tuple[bytes, int]:
    (length,) = _unpack(buffer, offset)
    start = offset + 8
    end = start + length
    if end > len(buffer):
        raise MalformedWriteSet(f"a field of {length} bytes at offset {offset} passes the end")
    return buffer[start:end], int(end)
