"""The `Accept` header of a request to a built-in JSON endpoint (node-api.md 1.3, RFC 9110 12.5.1)."""

import re
from dataclasses import dataclass

from dataplane.errors import RpcError

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_RANGE = re.compile(rf"({_TOKEN})/({_TOKEN})")
_WEIGHT = re.compile(r"q\s*=\s*(0(?:\.[0-9]*)?|1(?:\.0*)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry: `type/subtype`, either of them `*`, and how much it is wanted, 0 (not at all) to 1."""

    type: str
    subtype: str
    weight: float = 1.0

    def matches(self, media_type: str) -> bool:
        """Whether a media type such as `application/json` lies in this range."""
        kind, _, subtype = media_type.partition("/")
        return self.type in ("*", kind) and self.subtype in ("*", subtype)

    @property
    def precision(self) -> int:
        """How exactly the range names a type: of several that match, the most exact one counts."""
        return (self.type != "*") + (self.subtype != "*")


def parse_accept(header: str) -> list[MediaRange]:
    """The entries in the order given. Raises `RpcError` 400 `InvalidHeaderValue`."""
    entries = [entry.strip() for entry in header.split(",")]
    return [_media_range(entry) for entry in entries if entry]


def weight_of(media_type: str, header: str) -> float:
    """How much a type is wanted; 0 when it is not acceptable. An empty header accepts anything."""
    ranges = parse_accept(header)
    if not ranges:
        return 1.0
    matching = [entry for entry in ranges if entry.matches(media_type)]
    return max(matching, key=lambda entry: (entry.precision, entry.weight)).weight if matching else 0.0


def require_json(header: str) -> None:
    """Raises `RpcError`: 406 `UnsupportedContentType` where JSON is not accepted, 400 where nothing can be read."""
    if header in ("*/*", "application/json"):
        return
    if weight_of("application/json", header) == 0:
        text = f"No media type of {header!r} can be served; this endpoint answers in application/json."
        raise RpcError(406, "UnsupportedContentType", text)


def _media_range(entry: str) -> MediaRange:
    name, *parameters = (part.strip() for part in entry.split(";"))
    match = _MEDIA_RANGE.fullmatch(name)
    if match is None:
        raise RpcError(400, "InvalidHeaderValue", f"Entry in Accept header is not a valid media type: {entry!r}")
    weight = 1.0
    for parameter in parameters:
        if parameter[:1] in ("q", "Q") and parameter[1:].lstrip().startswith("="):
            found = _WEIGHT.fullmatch(parameter)
            if found is None:
                raise RpcError(400, "InvalidHeaderValue", f"Weight of an entry in Accept header is invalid: {entry!r}")
            weight = float(found[1])
    return MediaRange(match[1].lower(), match[2].lower(), weight)
