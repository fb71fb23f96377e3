"""Names of modules: paths from the application's root, without a leading `/` (node-api.md 5.2)."""


def check_module_path(name: str) -> str:
    """A module name without `.`, `..` and leading `/`; raises `ValueError` where it leaves the root."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise ValueError(f"module '{name}' lies outside the application")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def resolve_specifier(importer: str, specifier: str) -> str:
    """The module a specifier names: relative ones start at the importer's directory (node-api.md 5.2)."""
    if specifier.startswith("."):
        directory, _, _ = importer.rpartition("/")
        return check_module_path(f"{directory}/{specifier}")
    return check_module_path(specifier)


def is_source_map(name: str) -> bool:
    """Whether a module is no code but the map of another one, kept beside it for traces."""
    return name.endswith(".map")
