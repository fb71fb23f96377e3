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


@dataclass(frozen=True, slots=True)
class _Template:
    """A path with parameters: what it matches, the parameters' names in order, and its endpoints by verb."""

    path: str
    pattern: re.Pattern[str]
    names: tuple[str, ...]
    by_verb: dict[str, Endpoint]


class RouteTable:
    """All endpoints of one frontend."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._exact: dict[str, dict[str, Endpoint]] = {}
        self._templates: dict[str, _Template] = {}
        for endpoint in endpoints:
            path = endpoint.path
            if "{" not in path:
                self._exact.setdefault(path, {})[endpoint.method] = endpoint
                continue
            if path not in self._templates:
                self._templates[path] = _Template(path, *_compile_template(path), {})
            self._templates[path].by_verb[endpoint.method] = endpoint

    def endpoints(self) -> list[Endpoint]:
        """Every endpoint, by path and verb."""
        verbs = [*self._exact.values(), *(template.by_verb for template in self._templates.values())]
        return sorted((e for by_verb in verbs for e in by_verb.values()), key=lambda e: (e.path, e.method))

    def find(self, method: str, path: str) -> Found | VerbsOnly | None:
        """The endpoint for `path` without its frontend. Raises `InternalError` when two templates match."""
        exact = self._exact.get(path, _NONE)
        endpoint = exact.get(method)
        if endpoint is not None:
            return Found(endpoint)
        matches = [(t, match) for t in self._templates.values() if (match := t.pattern.fullmatch(path))]
        taking = [(t, match) for t, match in matches if method in t.by_verb]
        if len(taking) > 1:
            names = ", ".join(template.path for template, _ in taking)
            raise InternalError(f"Found multiple matching templates for {method} {path}: {names}")
        for template, match in taking:
            return Found(template.by_verb[method], dict(zip(template.names, match.groups(), strict=True)))
        verbs = {*exact, *(verb for template, _ in matches for verb in template.by_verb)}
        return VerbsOnly(tuple(sorted(verbs))) if verbs else None


_NONE: dict[str, Endpoint] = {}


def _compile_template(template: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """`{name}` matches one segment, up to the literal character that follows it if there is one."""
    pattern, position, names = "", 0, []
    for match in _PARAMETER.finditer(template):
        stop = "/" if match[2] in ("", "/") else "/" + re.escape(match[2])
        pattern += re.escape(template[position : match.start()]) + f"([^{stop}]+)"
        names.append(match[1])
        position = match.start(2)
    return re.compile(pattern + re.escape(template[position:])), tuple(names)


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
