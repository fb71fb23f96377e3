"""Source maps, revision 3: from a place in built JavaScript to the file and line it was written in.

Maps come with an application, so they may be anything: what cannot be read is no map, and never an error.
"""

import base64
import json
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

MAX_MAP_BYTES = 4 << 20
"""Longer maps are ignored: decoding takes about half a second for so many bytes."""

_COMMENTS = ("//# sourceMappingURL=", "//@ sourceMappingURL=")
_DIGITS = {
    character: value
    for value, character in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
}
_LIMIT = 2**31 - 1


@dataclass(slots=True)
class _Line:
    """The segments of one built line, by column: index of the source and line there, -1 where there is none."""

    columns: "array[int]" = field(default_factory=lambda: array("i"))
    sources: "array[int]" = field(default_factory=lambda: array("i"))
    lines: "array[int]" = field(default_factory=lambda: array("i"))


class SourceMap:
    """A decoded map. Lines and columns count from 0, columns in UTF-16 units."""

    def __init__(self, sources: list[str], lines: list[_Line]) -> None:
        self._sources = sources
        self._lines = lines

    def find(self, line: int, column: int) -> tuple[str, int] | None:
        """The source and its line for a place in the built text, None where the map does not cover it."""
        if not 0 <= line < len(self._lines):
            return None
        segments = self._lines[line]
        index = bisect_right(segments.columns, column) - 1
        if index < 0 or segments.sources[index] < 0:
            return None
        return self._sources[segments.sources[index]], segments.lines[index]


def map_reference(module: str) -> str | None:
    """Where a module says its map is: a `data:` URL or a path, by the last comment of that form."""
    start = max(module.rfind(comment) for comment in _COMMENTS)
    if start < 0:
        return None
    text = module[start + len(_COMMENTS[0]) :].partition("\n")[0].strip()
    return text or None


def decode_data_url(url: str) -> bytes | None:
    """The bytes of a `data:` URL, None where it is malformed or too long."""
    header, comma, body = url.removeprefix("data:").partition(",")
    if not comma or len(body) > 2 * MAX_MAP_BYTES:
        return None
    try:
        return base64.b64decode(body) if header.endswith(";base64") else unquote_to_bytes(body)
    except ValueError:
        return None


def parse_source_map(text: bytes) -> SourceMap | None:
    """Read a map, None where it is none that can be used. Maps made of `sections` are not read."""
    if len(text) > MAX_MAP_BYTES:
        return None
    try:
        value = json.loads(text)
        sources, mappings = value["sources"], value["mappings"]
        root = value.get("sourceRoot") or ""
        if value["version"] != 3 or not isinstance(mappings, str) or not isinstance(sources, list):
            return None
        names = [_source_name(root, source) for source in sources]
        return SourceMap(names, list(_decode_lines(mappings, len(names))))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def _source_name(root: str, source: object) -> str:
    if source is None:
        return "<unknown>"
    if not isinstance(source, str) or not isinstance(root, str):
        raise TypeError("a source must be a string")
    return f"{root.rstrip('/')}/{source}" if root else source


def _decode_lines(mappings: str, source_count: int) -> Iterator[_Line]:
    """Everything but the built column runs on from line to line."""
    source = line = original_column = 0
    for text in mappings.split(";"):
        segments, column = _Line(), 0
        for segment in filter(None, text.split(",")):
            numbers = decode_vlq(segment)
            column += numbers[0]
            if len(numbers) in (4, 5):
                source, line, original_column = source + numbers[1], line + numbers[2], original_column + numbers[3]
                if not 0 <= source < source_count or line < 0:
                    raise ValueError("a segment points outside the sources")
            elif len(numbers) != 1:
                raise ValueError("a segment has 1, 4 or 5 numbers")
            if segments.columns and column < segments.columns[-1]:
                raise ValueError("segments are not in order")
            segments.columns.append(column)
            segments.sources.append(source if len(numbers) > 1 else -1)
            segments.lines.append(line)
        yield segments


def decode_vlq(text: str) -> list[int]:
    """Numbers in base-64 digits of five bits, least significant first, the sign in the lowest bit.

    Raises `ValueError` for other characters, an unfinished number, and one beyond 32 bits.
    """
    numbers: list[int] = []
    value = shift = 0
    for character in text:
        digit = _DIGITS.get(character)
        if digit is None:
            raise ValueError(f"{character!r} is no base-64 digit")
        value |= (digit & 31) << shift
        if digit & 32:
            shift += 5
            if shift > 30:
                raise ValueError("a number has too many digits")
            continue
        if value >> 1 > _LIMIT:
            raise ValueError("a number is too large")
        numbers.append(-(value >> 1) if value & 1 else value >> 1)
        value = shift = 0
    if shift:
        raise ValueError("the last number is unfinished")
    return numbers
