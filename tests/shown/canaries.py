"""Private values stay private: none of a hundred is found in any file, log, database, environment or argument list.

    python -m tests.shown.canaries [COUNT]

A whole installation is searched: control plane, broker, gateway and the nodes of an instance that was created through
it, with everything below its data directory. The client's token is one more private value. Each is looked for raw, in
hex, in base64 (at each of the three alignments) and escaped as in JSON. Public values must be found in the ledger, and
a canary planted in a file must be found, so that a blind search cannot pass.
"""

import base64
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from controlplane.parts import running_parts, running_supervisor
from dataplane.client.session import Session
from tests.shown.ledgers import APP
from tests.support.installation import Installation, open_with_app
from tests.support.results import save


def run(count: int, directory: Path) -> dict[str, object]:
    """Raises where a private value is found, or a public or planted one is not."""
    private = [f'canary-\u00e9"{secrets.token_hex(12)}' for _ in range(count)]
    public = [f"public-{secrets.token_hex(12)}" for _ in range(count)]
    with Installation(directory) as installation:
        arm = installation.up()
        with open_with_app(installation, arm, APP) as session:
            _write(session, private, public)
        haystacks = [*_files(installation.settings.data_dir), *_processes(installation)]
        private.append(arm.token)
    _check_coverage([name for name, _ in haystacks])
    found = [name for name, content in haystacks if _any_form_in(private, content)]
    assert not found, f"private values stand in {found}"
    ledgers = b"".join(content for name, content in haystacks if ".ledger/" in name)
    assert all(value.encode() in ledgers for value in public), "a public value is not in the ledger"
    for form in _forms(private[0]):
        assert _any_form_in(private, b"\x00" * 100 + form + b"\x00"), "the control: a planted canary was not found"
    return {
        "canaries": count,
        "searched": len(haystacks),
        "bytes": sum(len(content) for _, content in haystacks),
        "found": 0,
        "control": "public values are found in the ledger, planted canaries in each form",
    }


def _write(session: Session, private: list[str], public: list[str]) -> None:
    for number, (secret, plain) in enumerate(zip(private, public, strict=True)):
        body = json.dumps({"secret": secret, "open": plain}).encode()
        answer = session.request("POST", f"/app/claim?id={number}&claim=yes", body=body)
        assert answer.status == 204, answer.body
    assert answer.txid is not None
    session.wait_for_commit(answer.txid)
    assert session.get_json("/app/claim?id=0")["secret"] == private[0]


def _files(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes()


def _processes(installation: Installation) -> Iterator[tuple[str, bytes]]:
    supervisor = running_supervisor(installation.settings)
    assert supervisor is not None
    pids = {"supervisor": supervisor, **running_parts(installation.settings), **installation.node_pids("bank")}
    for part, pid in pids.items():
        for name in ("environ", "cmdline"):
            yield f"{part} {name}", Path(f"/proc/{pid}/{name}").read_bytes()


def _check_coverage(names: list[str]) -> None:
    """A search that misses a place would find nothing there."""
    for place in ("mccf.db", "/logs/", ".ledger/", "/out", "api environ", "worker cmdline", "bank-0 environ"):
        assert any(place in name for name in names), f"{place} was not searched, only {names}"


def _any_form_in(values: Iterable[str], content: bytes) -> bool:
    return any(form in content for value in values for form in _forms(value))


def _forms(value: str) -> Iterator[bytes]:
    raw = value.encode()
    yield raw
    yield raw.hex().encode()
    yield json.dumps(value)[1:-1].encode()
    yield json.dumps(value, ensure_ascii=False)[1:-1].encode()
    for shift in range(3):
        # The base64 of a text inside a longer one, without the digits that depend on its neighbours.
        yield base64.b64encode(bytes(shift) + raw)[4 if shift else 0 : -4]


if __name__ == "__main__":
    os.umask(0o077)
    with tempfile.TemporaryDirectory() as temporary:
        save("canaries", run(int(sys.argv[1]) if len(sys.argv) > 1 else 100, Path(temporary)))
