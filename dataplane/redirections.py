"""Where an interface sends a client instead of forwarding its request: the `redirections` object (node-api.md 1.4).

Pure values and their parser. A resolver names either a role, whose nodes the store knows, or an address as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

_TO = ("to_primary", "to_backup")


class InvalidRedirections(ValueError):
    """The object cannot be used; `path` is where, relative to it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path


class Role(StrEnum):
    """What a target node must be."""

    PRIMARY = "primary"
    BACKUP = "backup"


@dataclass(frozen=True, slots=True)
class NodeByRole:
    """A trusted node in this role, at its published address of `interface` (None: the one the request came in on)."""

    role: Role = Role.PRIMARY
    interface: str | None = None


@dataclass(frozen=True, slots=True)
class StaticAddress:
    """`host` or `host:port`, written into the location as it is."""

    address: str


Resolver = NodeByRole | StaticAddress


@dataclass(frozen=True, slots=True)
class Redirections:
    """The two ways out of an interface that redirects."""

    to_primary: Resolver = NodeByRole()
    to_backup: Resolver = NodeByRole(Role.BACKUP)


def parse_redirections(document: object) -> Redirections:
    """The typed object; a way that is left out goes by role. Raises `InvalidRedirections`."""
    fields = _object("", document, _TO)
    ways = {name: _resolver(name, fields[name]) for name in _TO if fields.get(name) is not None}
    return Redirections(**ways)


def _resolver(path: str, document: object) -> Resolver:
    fields = _object(path, document, ("kind", "target"))
    target = fields.get("target", {})
    match fields.get("kind"):
        case "NodeByRole":
            return _by_role(f"{path}.target", target)
        case "StaticAddress":
            address = _object(f"{path}.target", target, ("address",)).get("address")
            if not isinstance(address, str) or not address or not address.isprintable() or " " in address:
                raise InvalidRedirections(f"{path}.target.address", "must be a host, or host:port")
            return StaticAddress(address)
        case _:
            raise InvalidRedirections(f"{path}.kind", "must be NodeByRole or StaticAddress")


def _by_role(path: str, document: object) -> NodeByRole:
    fields = _object(path, document, ("role", "interface"))
    role, interface = fields.get("role", Role.PRIMARY), fields.get("interface")
    if role not in tuple(Role):
        raise InvalidRedirections(f"{path}.role", "must be primary or backup")
    if interface is not None and not isinstance(interface, str):
        raise InvalidRedirections(f"{path}.interface", "must be the name of an interface")
    return NodeByRole(Role(str(role)), interface)


def _object(path: str, document: object, known: tuple[str, ...]) -> Mapping[str, object]:
    if not isinstance(document, Mapping):
        raise InvalidRedirections(path, "must be an object")
    for name in document:
        if name not in known:
            raise InvalidRedirections(f"{path}.{name}".lstrip("."), "is not a known setting")
    return document
