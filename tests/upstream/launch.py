"""Runs one of CCF's scripts with what our executable needs to stand in for the native logging sample.

    python launch.py SCRIPT [ARGUMENT...]

Executed by the Python of the scripts, with their directory on its path; they stay as they are. A service whose ledger
was written by the native sample holds no JavaScript application: the native one answers at once when such a service has
been recovered, ours once the bundle is deployed, so that is done before the script goes on.
"""

import runpy
import sys
from http import HTTPStatus

import infra.network

_recover = infra.network.Network.recover


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
    infra.network.Network.recover = recover_with_application
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
