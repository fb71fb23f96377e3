"""Runs one of CCF's scripts, which stays as it is, with two things around it.

    python launch.py RECORD WITHOUT SCRIPT [ARGUMENT...]

Executed by the Python of the scripts (3.12), with their directory on its path.

Our executable stands in for the native logging sample. A service whose ledger that sample wrote holds no JavaScript
application: the native one answers at once when such a service has been recovered, ours once the bundle is deployed, so
that is done before the script goes on.

RECORD is a JSON file: `ran`, the test functions that were entered, in order, and `failed`, those an exception left,
with the exception. WITHOUT names functions, `module.function` with commas between, that are left out, as they ask
for something of the native sample alone.
"""

import inspect
import json
import runpy
import sys
from http import HTTPStatus
from pathlib import Path

import infra.network
import suite.test_requirements

TESTS = Path(infra.network.__file__).parents[1]
TOOL = sys.monitoring.PROFILER_ID

_recover = infra.network.Network.recover


def main(record, without, *arguments):
    """Run the script and leave the record, whatever becomes of the script."""
    infra.network.Network.recover = recover_with_application
    leave_out(without.split(","))
    ran, failed = {}, {}
    watch(ran, failed)
    sys.argv = list(arguments)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        sys.monitoring.free_tool_id(TOOL)
        Path(record).write_text(json.dumps({"ran": list(ran), "failed": failed}))


def leave_out(names):
    """Have the decorator that every test function carries put one that does nothing in the place of these."""
    describe = suite.test_requirements.description

    def description(text):
        def decorated(function):
            path = Path(inspect.unwrap(function).__code__.co_filename)
            left_out = f"{path.stem}.{function.__name__}" in names
            return (lambda network, args, *rest, **named: network) if left_out else describe(text)(function)

        return decorated

    suite.test_requirements.description = description


def watch(ran, failed):
    """Note the test functions of the scripts by what the interpreter says of their frames."""
    events = sys.monitoring.events
    sys.monitoring.use_tool_id(TOOL, "upstream")

    def started(code, offset):
        name = test_name(code)
        if name is not None:
            ran.setdefault(name)
        return sys.monitoring.DISABLE  # once is enough, and nothing else is slowed down

    def left(code, offset, error):
        name = test_name(code)
        if name is not None:
            failed.setdefault(name, f"{type(error).__name__}: {error}")

    sys.monitoring.register_callback(TOOL, events.PY_START, started)
    sys.monitoring.register_callback(TOOL, events.PY_UNWIND, left)
    sys.monitoring.set_events(TOOL, events.PY_START | events.PY_UNWIND)


def test_name(code):
    """`script.function` for a test function or a part of a script that runs some; None for all else."""
    path = Path(code.co_filename)
    is_test = code.co_name.startswith(("test_", "run_")) and "<locals>" not in code.co_qualname
    in_scripts = path.is_relative_to(TESTS) and path.parent.name not in ("infra", "suite")
    return f"{path.stem}.{code.co_name}" if is_test and in_scripts else None


def recover_with_application(network, args, *positional, **named):
    """`Network.recover`, and the application that `--js-app-bundle` names where the service has none."""
    result = _recover(network, args, *positional, **named)
    primary, _ = network.find_primary()
    if args.js_app_bundle and not _has_application(primary):
        network.consortium.set_js_app_from_dir(remote_node=primary, bundle_path=args.js_app_bundle)
    return result


def _has_application(node):
    with node.api_versioned_client(api_version="2024-07-01") as client:
        answer = client.get("/gov/service/javascript-app")
    assert answer.status_code == HTTPStatus.OK, answer
    return bool(answer.body.json()["endpoints"])


if __name__ == "__main__":
    main(*sys.argv[1:])
