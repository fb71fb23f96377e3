"""Traces of exceptions as CCF writes them (node-api.md 5.4): one line per call, with module and line.

The engine adds columns, names modules without the leading `/`, and shows the host's own functions. Where a module
carries a source map, inline or as a module beside it, a line names the file that was written, not the one that was
built.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from posixpath import normpath

from dataplane.js.source_map import MAX_MAP_BYTES, SourceMap, decode_data_url, map_reference, parse_source_map

Source = Callable[[str], str | bytes | None]
"""The text of a module by its path without leading `/`, None where there is none."""

_PLACE = re.compile(r"(?P<before>    at (?:.* \()?)(?P<file>[^()]+?):(?P<line>\d+)(?::(?P<column>\d+))?(?P<after>\)?)")
_HOST_FILE = "<host>"
_HOST_CALL = "    at host (native)"
_MAPS_KEPT = 8


def readable_trace(trace: str, source: Source) -> str:
    """The engine's trace in the contract's form."""
    lines = (_readable_line(line, source) for line in trace.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def _readable_line(line: str, source: Source) -> str | None:
    if line == _HOST_CALL:
        return None
    place = _PLACE.fullmatch(line)
    if place is None:
        return line
    name, number = place["file"], int(place["line"])
    if name == _HOST_FILE:
        return None
    if not name.startswith("<"):
        name, number = _written_place(name, number, int(place["column"] or 1), source)
    return f"{place['before']}{name}:{number}{place['after']}"


def _written_place(module: str, line: int, column: int, source: Source) -> tuple[str, int]:
    found = _source_map(module, source)
    place = None if found is None else found.find(line - 1, column - 1)
    if place is None:
        return f"/{module}", line
    return _path_of_source(module, place[0]), place[1] + 1


def _path_of_source(module: str, name: str) -> str:
    """Where a map's source lies, from the bundle's root; names with a scheme of their own stay as they are."""
    if "://" in name or name.startswith("<"):
        return name
    directory, _, _ = module.rpartition("/")
    return normpath(f"/{directory}/{name}").replace("//", "/")


def _source_map(module: str, source: Source) -> SourceMap | None:
    text = source(module)
    if text is None:
        return None
    reference = _reference(text if isinstance(text, bytes) else text.encode())
    if reference is None:
        return None
    if reference.startswith("data:"):
        return _inline_map(reference)
    beside = source(_path_of_source(module, reference).lstrip("/"))
    if beside is None:
        return None
    return _parsed_map(beside if isinstance(beside, bytes) else beside.encode())


@lru_cache(maxsize=_MAPS_KEPT)
def _reference(module: bytes) -> str | None:
    return map_reference(module.decode("utf-8", "replace"))


@lru_cache(maxsize=_MAPS_KEPT)
def _inline_map(url: str) -> SourceMap | None:
    text = decode_data_url(url)
    return None if text is None else _parsed_map(text)


@lru_cache(maxsize=_MAPS_KEPT)
def _parsed_map(text: bytes) -> SourceMap | None:
    return parse_source_map(text) if len(text) <= MAX_MAP_BYTES else None
