"""`$filter` and cursors (control-plane.md 1.8)."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.arm.filter import decode_cursor, encode_cursor, matches, parse_filter
from controlplane.errors import ArmError

FIELDS = {"name": "name", "ledgertype": "ledgerType"}
VALUES = {"name": "Bank"}
TAGS = {"Env": "prod", "owner": "o'neil"}


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("name eq 'bank'", True),
        ("NAME EQ 'other'", False),
        ("name eq 'bank' and tagName eq 'env' and tagValue eq 'prod'", True),
        ("tagname eq 'env' and tagvalue eq 'PROD'", False),
        ("tagName eq 'missing'", False),
        ("tagValue eq 'prod'", True),
        ("tagValue eq 'o''neil'", True),
        ("ledgerType eq 'Public'", False),
        ("ledgerType eq ''", False),
    ],
)
def test_filters(text: str, passes: bool) -> None:
    assert matches(parse_filter(text, FIELDS), VALUES, TAGS) is passes


@pytest.mark.parametrize(
    "text", ["x", "name", "name ne 'a'", "name eq 'a' or name eq 'b'", "other eq 'a'", "name eq 'a' and"]
)
def test_filters_that_are_not_supported(text: str) -> None:
    with pytest.raises(ArmError) as raised:
        parse_filter(text, FIELDS)
    assert raised.value.code == "InvalidFilterInQueryString"


@given(st.text())
def test_any_filter_is_read_or_refused(text: str) -> None:
    with suppress(ArmError):
        assert parse_filter(text, FIELDS)


@given(st.text(st.characters(codec="utf-8")))
def test_a_cursor_reads_back(name: str) -> None:
    assert decode_cursor(encode_cursor(name)) == name
    assert set(encode_cursor(name)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize("token", ["*", "a", "ä", "_w"])
def test_a_cursor_that_is_not_ours(token: str) -> None:
    with pytest.raises(ArmError) as raised:
        decode_cursor(token)
    assert raised.value.code == "InvalidParameter"
