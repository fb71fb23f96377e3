"""Which test functions of a script ran, by the descriptions it logs."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

# By pattern, for the scripts need a newer Python than ours to be parsed.
_DESCRIBED = re.compile(r'@(?:\w+\.)?description\(\s*"((?:[^"\\]|\\.)*)",?\s*\)(?:(?!\ndef ).)*\ndef (\w+)', re.DOTALL)
_RAN = re.compile(r"Test: (.*?)\s*$", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ARGUMENTS = re.compile(r"\s*(\{.*\})?$")


def descriptions(scripts: Path) -> Mapping[str, str]:
    """Function names by description, of every described test function below a directory."""
    return {
        text: f"{path.stem}.{name}"
        for path in sorted(scripts.rglob("*.py"))
        for text, name in _DESCRIBED.findall(path.read_text())
    }


def functions_run(log: str, known: Mapping[str, str]) -> Sequence[str]:
    """Names of the functions a log says were begun, in order, each once."""
    texts = (_ARGUMENTS.sub("", text) for text in _RAN.findall(_COLOUR.sub("", log)))
    return list(dict.fromkeys(known[text] for text in texts if text in known))
