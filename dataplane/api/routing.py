"""Finding the endpoint of a request: frontends, exact paths, templates (node-api.md 1.1).

The first path segment selects the frontend `gov`, `node` or `app` and is stripped; any other path belongs to the
application as it is. An exact path wins over templates; two templates that match one request, verb included, are a
fault of the server.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from dataplane.apps.endpoint import Endpoint
from dataplane.errors import InternalError, ResourceNotFound, RpcError

FRONTENDS = ("gov", "node", "app")
_PARAMETER = re.compile(r"\{([^}/]+)\}(.?)")


@dataclass(frozen=True, slots=True)
class Found:
    """An endpoint, and the values of its path parameters, not decoded."""

    endpoint: Endpoint
    params: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VerbsOnly:
    """The path exists, the verb does not."""

    verbs: tuple[str, ...]


class RouteTable:
    """All endpoints of one frontend."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._exact: dict[str, dict[str, Endpoint]] = {}
        self._templates: dict[str, tuple[re.Pattern[str], dict[str, Endpoint]]] = {}
        for endpoint in endpoints:
            if "{" in endpoint.path:
                pattern = template_pattern(endpoint.path)
                self._templates.setdefault(endpoint.path, (pattern, {}))[1][endpoint.method] = endpoint
            else:
                self._exact.setdefault(endpoint.path, {})[endpoint.method] = endpoint

    def endpoints(self) -> list[Endpoint]:
        """Every endpoint, by path and verb."""
        verbs = [*self._exact.values(), *(verbs for _, verbs in self._templates.values())]
        return sorted((e for by_verb in verbs for e in by_verb.values()), key=lambda e: (e.path, e.method))

    def find(self, method: str, path: str) -> Found | VerbsOnly | None:
        """The endpoint for `path` without its frontend. Raises `InternalError` when two templates match."""
        exact = self._exact.get(path)
        if exact is not None:
            endpoint = exact.get(method)
            return Found(endpoint) if endpoint else VerbsOnly(tuple(sorted(exact)))
        matches = [
            (match, by_verb) for pattern, by_verb in self._templates.values() if (match := pattern.fullmatch(path))
        ]
        if not matches:
            return None
        taking = [(match, by_verb[method]) for match, by_verb in matches if method in by_verb]
        if not taking:
            return VerbsOnly(tuple(sorted({verb for _, by_verb in matches for verb in by_verb})))
        if len(taking) > 1:
            raise InternalError(f"Multiple endpoint templates match {method} {path}")
        match, endpoint = taking[0]
        return Found(endpoint, match.groupdict())


def template_pattern(template: str) -> re.Pattern[str]:
    """`{name}` matches one segment, up to the literal character that follows it if there is one."""
    pattern, position = "", 0
    for match in _PARAMETER.finditer(template):
        stop = "/" if match[2] in ("", "/") else "/" + re.escape(match[2])
        pattern += re.escape(template[position : match.start()]) + f"(?P<{match[1]}>[^{stop}]+)"
        position = match.start(2)
    return re.compile(pattern + re.escape(template[position:]))


def split_frontend(path: str) -> tuple[str, str]:
    """The frontend of a path and the path below it."""
    first, slash, rest = path[1:].partition("/")
    return (first, slash + rest) if first in FRONTENDS else ("app", path)


def not_found(path: str) -> ResourceNotFound:
    """The error for a path that no endpoint has."""
    return ResourceNotFound(f"Unknown path: {path}.")


def wrong_verb(method: str, path: str, verbs: tuple[str, ...]) -> RpcError:
    """The error for a verb that the path does not take."""
    allowed = ", ".join(verbs)
    return RpcError(405, "UnsupportedHttpVerb", f"Cannot execute '{path}' on {method}; allowed verbs are {allowed}.")
