"""CCF's own end-to-end infrastructure drives our executable.

    python -m tests.upstream TREE [NAME...]

TREE is a checkout of CCF 7.0.0-dev5, outside ours. It needs Python 3.12 and, for some scripts, npm and curl. The
working directory of every run is `TREE/build-mccf`: the scripts open paths such as `../samples`. Without names all
of `scripts.py` run, one after the other; a name is a script's or one of its runners' (`recovery`, `jwt_test.auto`).
What each answered goes to `docs/results/upstream.json`, one entry a runner, so that single ones may be repeated; logs
stay in the working directory.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from tests.support.results import RESULTS, save
from tests.support.tool_envs import find_python, tool_python
from tests.upstream.report import write_report
from tests.upstream.scripts import SCRIPTS, Script

LAUNCH = Path(__file__).with_name("launch.py")
PACKAGES = ("js_generic", "samples/apps/logging/logging")
_TEXT = 300  # characters of an exception that are kept
SUPPORT = ("tests/config.jinja", "python/utils/keygenerator.sh", "python/utils/submit_recovery_share.sh")


def main(arguments: Sequence[str]) -> int:
    """Run the named scripts; 0 when all of them passed."""
    tree, names = Path(arguments[0]).resolve(), arguments[1:]
    chosen = [script for script in SCRIPTS if not names or {script.name, script.file} & set(names)]
    python = find_python("3.12")
    if python is None or not chosen:
        print("Python 3.12 is needed" if python is None else f"no such script among {[s.name for s in SCRIPTS]}")
        return 2
    requirements = _requirements(tree)
    interpreter = tool_python(f"upstream-{crc32(repr(requirements).encode()):08x}", requirements, python)
    build = _build_directory(tree)
    _prepare_npm(tree)
    passed = True
    for script in chosen:
        result = _run(script, tree, build, interpreter)
        print(f"{script.name}: {result}", flush=True)
        passed &= bool(result["passed"])
        results = _earlier("scripts") | {script.name: result}
        defined = _earlier("defined") | {script.file: _defined(tree / "tests" / script.path)}
        save("upstream", {"scripts": dict(sorted(results.items())), "defined": dict(sorted(defined.items()))})
        write_report()
    return 0 if passed else 1


def _requirements(tree: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in (tree / "tests" / "requirements.txt").read_text().splitlines())
    return [*filter(None, lines), str(tree / "python")]


def _build_directory(tree: Path) -> Path:
    """A directory as the original's build leaves it, with our executable under the packages' names."""
    build = tree / "build-mccf"
    executable = Path(sys.executable).with_name("mccf-node")
    for package in PACKAGES:
        (build / package).parent.mkdir(parents=True, exist_ok=True)
        (build / package).write_text(f"{executable.read_text()}# {package}\n")  # told apart by their digests
        (build / package).chmod(0o755)
    for name in SUPPORT:
        shutil.copy(tree / name, build / Path(name).name)
    return build


def _prepare_npm(tree: Path) -> None:
    """The package that applications import builds itself when they install it, with tools it does not bring along."""
    package = tree / "js" / "ccf-app"
    if shutil.which("npm") and not (package / "node_modules").exists():
        subprocess.run(["npm", "install", "--no-package-lock", "--ignore-scripts"], cwd=package, check=True)


def _run(script: Script, tree: Path, build: Path, interpreter: Path) -> dict[str, object]:
    log, record = build / f"{script.name}.log", build / f"{script.name}.json"
    record.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PATH": f"{interpreter.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(tree / "tests"),
        "VIRTUAL_ENV": str(interpreter.parents[1]),
    }
    begin = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(script, tree, interpreter, record),
            cwd=build, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        status = _wait(process, script.timeout_s)
    functions = json.loads(record.read_text()) if record.exists() else {"ran": [], "failed": {}}
    return {
        "group": script.group,
        "passed": status == 0,
        "status": status if status is not None else f"no end within {script.timeout_s:.0f} s",
        "seconds": round(time.monotonic() - begin),
        "functions": functions["ran"],
        "left_out": list(script.without),
        "failed": {} if status == 0 else {name: text[:_TEXT] for name, text in functions["failed"].items()},
    }


def _command(script: Script, tree: Path, interpreter: Path, record: Path) -> list[str]:
    command = [
        str(interpreter),
        str(LAUNCH),
        str(record),
        ",".join(script.without),
        f"{{tree}}/tests/{script.path}",
        "-b",
        ".",
        "--label",
        script.name,
    ]
    command += ["--log-level", "info", "--worker-threads", "0", "--tick-ms", "1"]
    for path in script.constitution:
        command += ["--constitution", path]
    command += script.arguments
    if script.only is not None:
        command += ["-R", script.only]
    return [part.replace("{tree}", str(tree)) for part in command]


def _wait(process: "subprocess.Popen[bytes]", timeout_s: float) -> int | None:
    """The exit status; None when it had to be ended, with every node it had started."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _defined(path: Path) -> list[str]:
    """The test functions of a script, in its order. By pattern: only a newer Python than ours may parse it."""
    return [f"{path.stem}.{name}" for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)]


def _earlier(part: str) -> dict[str, Any]:
    path = RESULTS / "upstream.json"
    return dict(json.loads(path.read_text()).get(part, {})) if path.exists() else {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
