"""`$filter` and paging cursors of lists (control-plane.md 1.8)."""

import base64
import binascii
import re
from collections.abc import Mapping

from controlplane.errors import ArmError, bad_request

_TERM = re.compile(r"\s*([A-Za-z/]+)\s+eq\s+'((?:[^']|'')*)'\s*", re.IGNORECASE)
_AND = re.compile(r"and\b", re.IGNORECASE)
_TAG_FIELDS = {"tagname": "tagName", "tagvalue": "tagValue"}


def parse_filter(text: str, fields: Mapping[str, str]) -> dict[str, str]:
    """`name eq 'a' and tagName eq 'b'` as a dictionary; raises `InvalidFilterInQueryString`.

    `fields` maps lower-case names to the names used in the result; `tagName` and `tagValue` are always known.
    """
    known = _TAG_FIELDS | dict(fields)
    terms: dict[str, str] = {}
    position = 0
    while True:
        match = _TERM.match(text, position)
        if match is None or match[1].lower() not in known:
            raise _invalid(text)
        terms[known[match[1].lower()]] = match[2].replace("''", "'")
        position = match.end()
        if position == len(text):
            return terms
        conjunction = _AND.match(text, position)
        if conjunction is None:
            raise _invalid(text)
        position = conjunction.end()


def matches(terms: Mapping[str, str], values: Mapping[str, str], tags: Mapping[str, str]) -> bool:
    """Whether a resource passes; values compare without case, a field the resource lacks matches nothing."""
    for name, wanted in terms.items():
        if name in _TAG_FIELDS.values():
            continue
        if values.get(name, "").lower() != wanted.lower() or name not in values:
            return False
    return _tags_match(terms.get("tagName"), terms.get("tagValue"), tags)


def encode_cursor(name_key: str) -> str:
    """An opaque, URL-safe `$skipToken`: base64url without padding, as the clients copy it verbatim."""
    return base64.urlsafe_b64encode(name_key.encode()).rstrip(b"=").decode()


def decode_cursor(token: str) -> str:
    """The name after which the next page begins. Raises `InvalidParameter`."""
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise bad_request("InvalidParameter", "The $skipToken is not one of ours.", "$skipToken") from error


def _tags_match(name: str | None, value: str | None, tags: Mapping[str, str]) -> bool:
    candidates = [text for key, text in tags.items() if name is None or key.lower() == name.lower()]
    if value is not None:
        return value in candidates
    return name is None or bool(candidates)


def _invalid(text: str) -> ArmError:
    shown = text if len(text) <= 200 else text[:200] + "..."
    message = f"The $filter '{shown}' is not supported: use <field> eq '<value>' joined by 'and'."
    return bad_request("InvalidFilterInQueryString", message, "$filter")
