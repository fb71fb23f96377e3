"""Turns `docs/results/upstream.json` into `docs/upstream.md`: the scripts and functions of drop-in.md 4.

python -m tests.upstream.report
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.results import RESULTS
from tests.upstream.scripts import REASONS, SCRIPTS, Script

DOCUMENT = RESULTS.parent / "upstream.md"
INTRODUCTION = """# CCF's own end-to-end suite against our node

`make upstream TREE=<checkout of CCF 7.0.0-dev5>` runs the scripts of Microsoft's own build, unmodified, against our
executable, and writes this page; `NAMES="recovery jwt_test.auto"` repeats single ones. Group A needs a generic
JavaScript node; group B names the native logging sample as its package, and here the JavaScript form of that sample is
deployed in its place. A runner is what the script itself calls a sub-test.
"""


def write_report() -> Path:
    """Write the page from the newest results."""
    results: dict[str, Any] = json.loads((RESULTS / "upstream.json").read_text())
    DOCUMENT.write_text(render(results["scripts"], results.get("defined", {})))
    return DOCUMENT


def render(results: Mapping[str, Mapping[str, Any]], defined: Mapping[str, Sequence[str]]) -> str:
    """The page. `results` by the name of the entry, `defined` the test functions of each script file."""
    parts = [INTRODUCTION, _summary(results)]
    for group in ("A", "B"):
        entries = [script for script in SCRIPTS if script.group == group]
        parts += [f"## Group {group}\n", _table(entries, results), _functions(entries, results, defined)]
    return "\n".join(parts)


def _summary(results: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for group in ("A", "B"):
        entries = [script.name for script in SCRIPTS if script.group == group]
        passed = [results[name] for name in entries if _passed(results.get(name))]
        whole = sum(1 for result in passed if not result.get("left_out"))
        lines.append(f"- Group {group}: {len(passed)} of {len(entries)} runs exit 0, {whole} of them whole.")
    return "\n".join(lines) + "\n"


def _table(entries: Sequence[Script], results: Mapping[str, Mapping[str, Any]]) -> str:
    rows = ["| run | result | seconds | reason |", "|---|---|---|---|"]
    for script in entries:
        result = results.get(script.name)
        seconds = "" if result is None else result["seconds"]
        rows.append(f"| {script.name} | {_verdict(result)} | {seconds} | {_reason(script, result)} |")
    return "\n".join(rows) + "\n"


def _verdict(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "not run"
    if result["passed"]:
        left_out = ", ".join(f"`{name}`" for name in result.get("left_out", ()))
        return f"passes without {left_out}" if left_out else "passes"
    return (
        f"fails in {', '.join(f'`{name}`' for name in _blamed(result))}" if result["failed"] else "fails at its start"
    )


def _reason(script: Script, result: Mapping[str, Any] | None) -> str:
    """Ours where we know one, and what the script said, so that another failure cannot hide behind a known one."""
    if _passed(result):
        return REASONS.get(script.name, "") if script.without else ""
    given = REASONS.get(script.name, REASONS.get(script.file, ""))
    if result is None:
        return given
    said = [result["failed"][name] for name in _blamed(result)] or [f"status {result['status']}"]
    return "; ".join(text.replace("|", "\\|").replace("\n", " ").strip() for text in [given, *said] if text)


def _blamed(result: Mapping[str, Any]) -> list[str]:
    """The test functions that failed; a part of the script that calls them only where none of them is to blame."""
    failed = list(result["failed"])
    return [name for name in failed if ".test_" in name] or failed[:1]


def _functions(
    entries: Sequence[Script], results: Mapping[str, Mapping[str, Any]], defined: Mapping[str, Sequence[str]]
) -> str:
    lines = ["Functions, by script:\n"]
    for file in dict.fromkeys(script.file for script in entries):
        runs = [results[script.name] for script in entries if script.file == file and script.name in results]
        lines.append(f"- **{file}**: {_states(runs, defined.get(file, ()))}")
    return "\n".join(lines) + "\n"


def _states(runs: Sequence[Mapping[str, Any]], defined: Sequence[str]) -> str:
    """Every function with its worst result over the runs of a script, and those no run came to."""
    failed = {name for run in runs for name in _blamed(run) if not run["passed"]}
    ran = dict.fromkeys(name for run in runs for name in run["functions"] if ".test_" in name or name in failed)
    states = [f"{name} {'**fails**' if name in failed else 'passes'}" for name in ran]
    states += dict.fromkeys(f"{name} left out" for run in runs for name in run.get("left_out", ()))
    states += [f"{name} not reached" for name in defined if name not in ran]
    return "; ".join(states) or "none"


def _passed(result: Mapping[str, Any] | None) -> bool:
    return result is not None and bool(result["passed"])


if __name__ == "__main__":
    print(write_report())
