"""The `redirections` object of an interface (node-api.md 1.4)."""

import pytest

from dataplane.redirections import (
    InvalidRedirections,
    NodeByRole,
    Redirections,
    Role,
    StaticAddress,
    parse_redirections,
)


def test_an_empty_object_redirects_by_role() -> None:
    assert parse_redirections({}) == Redirections(NodeByRole(Role.PRIMARY), NodeByRole(Role.BACKUP))


def test_roles_and_interfaces() -> None:
    document = {
        "to_primary": {"kind": "NodeByRole", "target": {"role": "primary", "interface": "inner"}},
        "to_backup": {"kind": "StaticAddress", "target": {"address": "backup.example.test"}},
    }
    assert parse_redirections(document) == Redirections(
        NodeByRole(Role.PRIMARY, "inner"), StaticAddress("backup.example.test")
    )


def test_a_role_is_the_primary_unless_named() -> None:
    assert parse_redirections({"to_backup": {"kind": "NodeByRole"}}).to_backup == NodeByRole(Role.PRIMARY)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ([], ""),
        ({"elsewhere": {}}, "elsewhere"),
        ({"to_primary": {"kind": "Oracle"}}, "to_primary.kind"),
        ({"to_primary": {"kind": "NodeByRole", "target": {"role": "learner"}}}, "to_primary.target.role"),
        ({"to_primary": {"kind": "NodeByRole", "target": {"interface": 1}}}, "to_primary.target.interface"),
        ({"to_backup": {"kind": "StaticAddress", "target": {}}}, "to_backup.target.address"),
        ({"to_backup": {"kind": "StaticAddress", "target": {"address": "a\r\nb: c"}}}, "to_backup.target.address"),
        ({"to_backup": {"kind": "StaticAddress", "target": {"port": 1}}}, "to_backup.target.port"),
    ],
)
def test_what_is_wrong_is_named(document: object, path: str) -> None:
    with pytest.raises(InvalidRedirections) as refused:
        parse_redirections(document)
    assert refused.value.path == path
