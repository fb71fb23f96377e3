"""Which test functions of a script ran, by the descriptions it logs."""

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_RAN = re.compile(r"Test: (.*?)\s*$", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ARGUMENTS = re.compile(r"\s*(\{.*\})?$")


def descriptions(scripts: Path) -> Mapping[str, str]:
    """Function names by description, of every `@reqs.description("...")` below a directory."""
    found: dict[str, str] = {}
    for path in sorted(scripts.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                found |= {text: f"{path.stem}.{node.name}" for text in _described(node)}
    return found


def functions_run(log: str, known: Mapping[str, str]) -> Sequence[str]:
    """Names of the functions a log says were begun, in order, each once."""
    texts = (_ARGUMENTS.sub("", text) for text in _RAN.findall(_COLOUR.sub("", log)))
    return list(dict.fromkeys(known[text] for text in texts if text in known))


def _described(node: ast.FunctionDef) -> Sequence[str]:
    return [
        str(decorator.args[0].value)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr == "description"
        and decorator.args
        and isinstance(decorator.args[0], ast.Constant)
    ]
