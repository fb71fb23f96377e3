"""Application bundles on disk: `app.json` beside `src/`, as `set_js_app` takes them (node-api.md 5.1)."""

import json
from pathlib import Path
from typing import Any

_SUFFIXES = (".js", ".mjs")


class BundleError(ValueError):
    """The directory holds no application bundle."""


def load_bundle(directory: Path) -> dict[str, Any]:
    """The bundle of a directory: `{"metadata": <app.json>, "modules": [{"name", "module"}]}`, modules by name.

    Names are relative to `src`. Raises `BundleError` where a part is missing or no text.
    """
    metadata_file, source = directory / "app.json", directory / "src"
    if not metadata_file.is_file() or not source.is_dir():
        raise BundleError(f"{directory} must hold app.json and a directory src")
    try:
        metadata = json.loads(metadata_file.read_text())
    except ValueError as error:
        raise BundleError(f"{metadata_file} is no JSON: {error}") from error
    files = sorted(path for path in source.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
    return {"metadata": metadata, "modules": [_module(source, path) for path in files]}


def set_js_app(bundle: dict[str, Any], *, disable_bytecode_cache: bool = False) -> dict[str, Any]:
    """The governance action that deploys a bundle."""
    return {"name": "set_js_app", "args": {"bundle": bundle, "disable_bytecode_cache": disable_bytecode_cache}}


def _module(source: Path, path: Path) -> dict[str, str]:
    try:
        return {"name": path.relative_to(source).as_posix(), "module": path.read_text("utf-8")}
    except UnicodeDecodeError as error:
        raise BundleError(f"{path} is no UTF-8 text") from error
