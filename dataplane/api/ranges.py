"""Byte ranges of files (node-api.md 2.2.1, 2.2.2): which bytes a `Range` header asks for, and the answer.

CCF 7.0.0-dev5 counts the end of a snapshot's range as excluded, in the request and in `content-range`, and answers 206
always; released versions follow RFC 9110. Texts of refusals are pinned (node-api.md 1.8).
"""

import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from dataplane.apps.endpoint import Request, Response
from dataplane.errors import InvalidHeaderValue

_MOST_DIGITS = 19  # as an unsigned 64-bit number has; Python refuses to read thousands of them


class RangeRule(Enum):
    """How the end of a range counts."""

    END_EXCLUDED = "7.0.0-dev5"
    RFC_9110 = "released"


SNAPSHOT_RANGES = RangeRule.END_EXCLUDED
"""The rule for snapshots. A node that joins understands both."""


def file_response(request: Request, path: Path, rule: RangeRule, headers: Mapping[str, str]) -> Response:
    """Answer HEAD with the size, GET with the file or the range asked for. Raises `InvalidHeaderValue`."""
    fields = {**headers, "accept-ranges": "bytes"}
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if request.method == "HEAD":
            return Response(200, b"", {**fields, "content-length": str(size)})
        fields["content-type"] = "application/octet-stream"
        wanted = request.headers.get("range")
        if wanted is None and rule is RangeRule.RFC_9110:
            return Response(200, file.read(), fields)
        start, end = (0, size) if wanted is None else parse_range(wanted, size, rule)
        last = end if rule is RangeRule.END_EXCLUDED else end - 1
        return Response(
            206,
            os.pread(file.fileno(), end - start, start),
            {**fields, "content-range": f"bytes {start}-{last}/{size}"},
        )


def parse_range(text: str, size: int, rule: RangeRule) -> tuple[int, int]:
    """Start, and end excluded, of the one range in a `Range` header over `size` bytes. Raises `InvalidHeaderValue`."""
    unit, _, ranges = text.partition("=")
    if unit.strip() != "bytes":
        raise InvalidHeaderValue("Only 'bytes' is supported as a Range header unit")
    if "," in ranges:
        raise InvalidHeaderValue("Multiple ranges are not supported")
    parts = ranges.strip().split("-")
    if len(parts) != 2:
        raise InvalidHeaderValue(f"Invalid format, cannot parse range in {text}")
    first, last = parts
    if first:
        return _from_start(_number(first, "start of range", text), last, size, rule, text)
    if last:
        return max(0, size - _number(last, "end of range offset", text)), size
    raise InvalidHeaderValue("Invalid range: Must contain range-start or range-end")


def _from_start(start: int, last: str, size: int, rule: RangeRule, text: str) -> tuple[int, int]:
    included = rule is RangeRule.RFC_9110
    if start > size or (included and start == size):
        raise InvalidHeaderValue(f"Start of range {start} is larger than total file size {size}")
    if not last:
        return start, size
    end = _number(last, "end of range", text)
    if end < start:
        raise InvalidHeaderValue(f"Invalid range: Start ({start}) and end ({end}) out of order")
    return start, min(end + included, size)


def _number(part: str, what: str, text: str) -> int:
    if not (part.isascii() and part.isdecimal()) or len(part) > _MOST_DIGITS:
        raise InvalidHeaderValue(f"Unable to parse {what} value {part} in {text}")
    return int(part)
