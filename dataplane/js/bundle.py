"""Application bundles: what `app.json` says about each endpoint, and the check of a whole bundle (node-api.md 5.1).

On the wire a bundle is `{"metadata": {"endpoints": ...}, "modules": [{"name", "module"}, ...]}`; in the store every
endpoint is a row `"VERB /path"` of `endpoints` and every module a row `"/<name>"` of `modules`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataplane.js.interpreter import DEFAULT_LIMITS, JsError, Limits, compile_modules

VERBS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
MODES = ("readwrite", "readonly", "historical")
FORWARDING = ("sometimes", "always", "never")
REDIRECTION = ("none", "to_primary", "to_backup")


class InvalidBundle(ValueError):
    """A bundle that cannot be deployed; `problems` says everything that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """One endpoint of an application, as it is stored.

    `reuse_key` is the key of `interpreter_reuse`, None for a new interpreter per request. `authn_policies` are names,
    or mappings `{"all_of": [names]}`.
    """

    module: str
    function: str
    mode: str = "readwrite"
    forwarding: str = "always"
    redirection: str = "to_primary"
    authn_policies: tuple[object, ...] = ()
    reuse_key: str | None = None
    openapi: Mapping[str, object] = field(default_factory=dict)
    openapi_hidden: bool = False

    @classmethod
    def from_json(cls, text: bytes | str) -> "EndpointSpec":
        """Read a stored endpoint; raises `InvalidBundle`."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise InvalidBundle([f"the endpoint is no JSON: {error}"]) from None
        problems = list(endpoint_problems(value))
        if problems:
            raise InvalidBundle(problems)
        return cls(
            module=value["js_module"],
            function=value["js_function"],
            mode=value["mode"],
            forwarding=value["forwarding_required"],
            redirection=value.get("redirection_strategy") or "to_primary",
            authn_policies=tuple(value["authn_policies"]),
            reuse_key=(value.get("interpreter_reuse") or {}).get("key"),
            openapi=value.get("openapi") or {},
            openapi_hidden=bool(value.get("openapi_hidden")),
        )


def check_bundle(bundle: object, limits: Limits = DEFAULT_LIMITS) -> None:
    """Check shape, references and syntax of a bundle; raises `InvalidBundle` with every problem found.

    `limits` are those of compiling it.
    """
    problems = list(_bundle_problems(bundle, limits))
    if problems:
        raise InvalidBundle(problems)


def endpoint_problems(value: object) -> Iterator[str]:
    """What is wrong with the description of one endpoint."""
    if not isinstance(value, dict):
        yield "the endpoint must be an object"
        return
    for name in ("js_module", "js_function"):
        if not isinstance(value.get(name), str) or not value[name]:
            yield f"{name} must be a non-empty string"
    yield from _choice_problems(value, "mode", MODES)
    yield from _choice_problems(value, "forwarding_required", FORWARDING)
    if value.get("redirection_strategy") is not None:
        yield from _choice_problems(value, "redirection_strategy", REDIRECTION)
    if not isinstance(value.get("authn_policies"), list):
        yield "authn_policies must be an array"
    if not isinstance(value.get("openapi") or {}, dict):
        yield "openapi must be an object"
    reuse = value.get("interpreter_reuse")
    if reuse is not None and not (isinstance(reuse, dict) and isinstance(reuse.get("key"), str)):
        yield "interpreter_reuse must be an object with a string key"


def _choice_problems(value: Mapping[str, object], name: str, choices: tuple[str, ...]) -> Iterator[str]:
    if value.get(name) not in choices:
        yield f"{name} must be one of {', '.join(choices)}"


def _bundle_problems(bundle: object, limits: Limits) -> Iterator[str]:
    if not isinstance(bundle, dict):
        yield "the bundle must be an object"
        return
    modules: dict[str, str] = {}
    yield from _module_problems(bundle.get("modules"), modules)
    metadata = bundle.get("metadata")
    endpoints = metadata.get("endpoints") if isinstance(metadata, dict) else None
    if not isinstance(endpoints, dict):
        yield "metadata.endpoints must be an object"
        return
    for path, verbs in endpoints.items():
        for problem in _path_problems(path, verbs, modules):
            yield f"endpoint {path}: {problem}"
    yield from _syntax_problems(modules, limits)


def _module_problems(value: object, modules: dict[str, str]) -> Iterator[str]:
    if not isinstance(value, list):
        yield "modules must be an array"
        return
    for entry in value:
        name, text = (entry.get("name"), entry.get("module")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(text, str) or not name:
            yield "each module must have a name and a module, both strings"
        elif not (_is_unicode(name) and _is_unicode(text)):
            yield f"module {name!r} holds half a surrogate pair, which is no text"
        elif name.lstrip("/") in modules:
            yield f"module {name} appears twice"
        else:
            modules[name.lstrip("/")] = text


def _is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8: JSON can spell half a surrogate pair, which cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _path_problems(path: str, verbs: object, modules: Mapping[str, str]) -> Iterator[str]:
    if not path.startswith("/"):
        yield "the path must begin with /"
    if not isinstance(verbs, dict):
        yield "the value must be an object of verbs"
        return
    for verb, endpoint in verbs.items():
        if verb.upper() not in VERBS:
            yield f"{verb} is no HTTP verb"
        problems = list(endpoint_problems(endpoint))
        for problem in problems or _reference_problems(endpoint, modules):
            yield f"{verb}: {problem}"


def _reference_problems(endpoint: Mapping[str, Any], modules: Mapping[str, str]) -> Iterator[str]:
    name = endpoint["js_module"].lstrip("/")
    if name not in modules:
        yield f"module {name} is not in the bundle"


def _syntax_problems(modules: Mapping[str, str], limits: Limits) -> Iterator[str]:
    try:
        compile_modules(modules, limits)
    except JsError as error:
        yield error.reason
