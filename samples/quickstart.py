"""The whole product once, from an empty data directory: what a newcomer sees.

    python -m samples.quickstart

Starts the control plane, creates an instance of three nodes over three zones through the ARM API, and does with it what
its consortium would: activate a member, deploy an application by vote, write, read, prove, survive a dead primary.
Everything goes over the public APIs; only the kill reaches for a process. Leaves all running. A failing step ends it
non-zero and says what to do.
"""

import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from controlplane import settings as control_settings
from dataplane.client.bundle import load_bundle, set_js_app
from dataplane.client.session import Session, SessionError
from dataplane.client.signing import IdentityFiles, Member, file_signer, new_identity
from dataplane.client.verify import verify_ledger
from dataplane.receipt import verify_receipt
from dataplane.txid import TxID

GROUP, INSTANCE = "quickstart", "bank"
SAMPLE = Path(__file__).parent / "accounts"
API_VERSION = "2024-09-19-preview"
GROUPS_VERSION = "2024-11-01"
INSTANCE_VERSION = "2026-01-01-preview"
PATIENCE_S = 60.0


class StepFailed(Exception):
    """A step did not work; the text says what to do."""


class Narrator:
    """One line a step with its time; on a terminal the running step shows while it lasts."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._terminal = sys.stdout.isatty()

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        began = time.monotonic()
        if self._terminal:
            print(f"  ...  {text}", end="\r", flush=True)
        try:
            yield
        except (StepFailed, SessionError, httpx.HTTPError, OSError, subprocess.SubprocessError) as error:
            print(f"failed  {text}")
            raise StepFailed(f"{text}: {error}") from error
        print(f"{time.monotonic() - began:5.1f}s  {text}", flush=True)

    def total_s(self) -> float:
        return time.monotonic() - self._begin


class Arm:
    """A small ARM client: a token, then requests with it."""

    def __init__(self, credentials: dict[str, str]) -> None:
        self.base = credentials["authority"]
        self.subscription = f"/subscriptions/{credentials['subscription_id']}"
        self._client = httpx.Client(verify=ssl.create_default_context(cafile=credentials["ca_file"]), timeout=30)
        answer = self._client.post(
            f"{self.base}/{credentials['tenant_id']}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": credentials["client_id"],
                "client_secret": credentials["client_secret"],
                "scope": "https://management.azure.com/.default",
            },
        )
        self.token = str(_checked(answer)["access_token"])
        self._client.headers["authorization"] = f"Bearer {self.token}"

    @property
    def instance(self) -> str:
        """The instance's resource path."""
        return (
            f"{self.subscription}/resourceGroups/{GROUP}/providers/Microsoft.ConfidentialLedger/managedCCFs/{INSTANCE}"
        )

    def get(self, path: str, version: str = API_VERSION) -> Any:
        return _checked(self._client.get(f"{self.base}{path}", params={"api-version": version}))

    def put(self, path: str, body: dict[str, Any], version: str = API_VERSION) -> httpx.Response:
        answer = self._client.put(f"{self.base}{path}", params={"api-version": version}, json=body)
        _checked(answer)
        return answer

    def follow(self, answer: httpx.Response) -> None:
        """Poll the operation an answer names until it has ended."""
        url = answer.headers["azure-asyncoperation"]

        def ended() -> Any:
            status = _checked(self._client.get(url))
            return status if status["status"] in ("Succeeded", "Failed", "Canceled") else None

        status = _eventually("the operation to end", ended)
        if status["status"] != "Succeeded":
            raise StepFailed(f"the operation {status['status'].lower()}: {status.get('error')}")

    def nodes(self) -> list[dict[str, Any]]:
        return list(self.get(f"{self.instance}/providers/Mccf.Instances/nodes", INSTANCE_VERSION)["value"])


def main() -> int:
    """Run every step; 0 when all worked."""
    tell = Narrator()
    try:
        _run(tell)
    except StepFailed as error:
        settings = control_settings.load(os.environ)
        print(f"\n{error}\nLook into {settings.logs_dir}, then run it again; `.venv/bin/mccf down --nodes` cleans up.")
        return 1
    return 0


def _run(tell: Narrator) -> None:
    with tell.step("control plane is up (mccf up)"):
        _mccf("up")
        settings = control_settings.load(os.environ)
        credentials = json.loads(settings.credentials_file.read_text())
    keys = settings.data_dir / "quickstart" / uuid4().hex[:8]
    keys.mkdir(parents=True, mode=0o700)
    with tell.step(f"signed in; resource group {GROUP}"):
        arm = Arm(credentials)
        arm.put(f"{arm.subscription}/resourcegroups/{GROUP}", {"location": "southcentralus"}, GROUPS_VERSION)
    with tell.step(f"instance {INSTANCE}: three nodes over three zones, from PUT to Succeeded"):
        member = new_identity("member0", keys, encryption_key=True)
        if INSTANCE in [row["name"] for row in arm.get(f"{arm.subscription}/providers/{_TYPE}/")["value"]]:
            raise StepFailed(f"{INSTANCE} exists already: `.venv/bin/mccf down --nodes`, or another MCCF_DATA_DIR")
        arm.follow(arm.put(arm.instance, _instance_body(member)))
    properties = arm.get(arm.instance)["properties"]
    with tell.step("service certificate from the identity service"):
        certificate = str(arm.get(_path_of(properties["identityServiceUri"]))["ledgerTlsCertificate"])
        (keys / "service_cert.pem").write_text(certificate)
    with Session(properties["appUri"], certificate) as session:
        _govern(tell, session, member, keys)
    user = (keys / "alice_cert.pem", keys / "alice_privk.pem")
    _use(tell, arm, certificate, properties["appUri"], user, (member.certificate, member.private_key))
    print(f"\nAll of it in {tell.total_s():.1f} s, and it goes on running.")
    print("The nodes are *simulated*: the virtual platform protects nothing.")
    _print_next(properties, keys, settings)


_TYPE = "Microsoft.ConfidentialLedger/managedCCFs"


def _instance_body(member: IdentityFiles) -> dict[str, Any]:
    assert member.encryption_public_key is not None
    identity = {
        "certificate": member.certificate.read_text(),
        "encryptionkey": member.encryption_public_key.read_text(),
        "tags": {"identifier": "member0", "group": "founders"},
    }
    return {
        "location": "southcentralus",
        "properties": {
            "nodeCount": 3,
            "deploymentType": {"languageRuntime": "JS", "appSourceUri": "customImage"},
            "memberIdentityCertificates": [identity],
        },
    }


def _govern(tell: Narrator, session: Session, files: IdentityFiles, keys: Path) -> None:
    """What the consortium does before its application can be used."""
    member = Member(session, file_signer(files.certificate, files.private_key))
    with tell.step("member0 is active; the operator opens the service"):
        member.activate()
        _eventually("the service to open", lambda: session.get_json("/node/network")["service_status"] == "Open")
    with tell.step("sample app deployed by a signed proposal and ballot"):
        _pass(member, [set_js_app(load_bundle(SAMPLE))])
    with tell.step("users alice and bob added"):
        users = [(name, new_identity(name, keys, encryption_key=False)) for name in ("alice", "bob")]
        _pass(
            member,
            [
                {
                    "name": "set_user",
                    "args": {"cert": user.certificate.read_text(), "user_data": {"organisation": f"{name}-ltd"}},
                }
                for name, user in users
            ],
        )
        _eventually("the app to be open", lambda: session.request("GET", "/app/commit").status == 200)


def _use(
    tell: Narrator, arm: Arm, certificate: str, app_uri: str, user: tuple[Path, Path], member: tuple[Path, Path]
) -> None:
    """What users and auditors do."""
    nodes = arm.nodes()
    urls = [f"https://{node['rpcAddress']}" for node in nodes]
    with tell.step("private and public records written and read through all three nodes"):
        statement, txid = _write_and_read(certificate, urls, user, member)
    with Session(app_uri, certificate, user) as session:
        with tell.step(f"transaction {txid} committed; its receipt verifies offline"):
            session.wait_for_commit(txid)
            verified = verify_receipt(session.receipt(txid), certificate, bytes.fromhex(statement["digest"]))
            if verified.txid != txid:
                raise StepFailed(f"the receipt is for {verified.txid}")
        with tell.step("ledger chunk closed by vote, ledger downloaded and verified"):
            _pass(Member(session, file_signer(*member)), [{"name": "trigger_ledger_chunk"}])
            _eventually("the chunk", lambda: session.request("GET", "/node/ledger-chunk?since=1").status == 200)
            _download_and_verify(session, certificate)
        with tell.step("primary killed; writes go on"):
            _kill_primary(nodes, _primary_address(session))
            _eventually("writes to resume", lambda: _transfer(session, 1) is not None)
        with tell.step("the dead node is replaced"):
            _eventually("three running nodes again", lambda: _whole_again(arm, nodes))


def _write_and_read(
    certificate: str, urls: list[str], user: tuple[Path, Path], member: tuple[Path, Path]
) -> tuple[dict[str, Any], TxID]:
    with Session(urls[0], certificate, user) as first, Session(urls[0], certificate, member) as treasurer:
        for account in ("alice-main", "alice-savings"):
            _expect(first.request("PUT", f"/app/accounts/{account}"), 201)
        deposit = {"amount": 100_000, "reference": "opening balance"}
        _expect(treasurer.request("POST", "/app/accounts/alice-main/deposits", json_body=deposit), 201)
    statement: dict[str, Any] = {}
    txid: TxID | None = None
    for url in urls:
        with Session(url, certificate, user) as session:
            made = _transfer(session, 100)
            if made is None:
                raise StepFailed(f"{url} did not take a transfer")
            statement, txid = made
    assert txid is not None
    for url in urls:
        with Session(url, certificate, user) as session:
            balance = _eventually("the balance", lambda s=session: _balance(s))  # type: ignore[misc]
            if balance != 100_000 - 100 * len(urls):
                raise StepFailed(f"{url} says the balance is {balance}")
            _expect(session.request("GET", f"/app/transfers/{statement['id']}"), 200)
    return statement, txid


def _transfer(session: Session, amount: int) -> tuple[dict[str, Any], TxID] | None:
    body = {"from": "alice-main", "to": "alice-savings", "amount": amount}
    answer = session.request("POST", "/app/transfers", json_body=body)
    return (answer.json(), answer.txid) if answer.status == 201 and answer.txid is not None else None


def _balance(session: Session) -> int | None:
    answer = session.request("GET", "/app/accounts/alice-main")
    balance = answer.json().get("balance") if answer.status == 200 else None
    return balance if balance != 100_000 else None  # a backup may be a moment behind


def _download_and_verify(session: Session, certificate: str) -> None:
    """Every committed chunk of one node, read as an auditor would."""
    with tempfile.TemporaryDirectory() as directory:
        seqno = 1
        while True:
            answer = session.request("GET", f"/node/ledger-chunk?since={seqno}")
            if answer.status != 200:
                break
            name = answer.headers["x-ms-ccf-ledger-chunk-name"]
            (Path(directory) / name).write_bytes(answer.body)
            seqno = int(name.removesuffix(".committed").rpartition("-")[2]) + 1
        report = verify_ledger(Path(directory))
        if report.last_signed is None or report.service_cert_pem != certificate:
            raise StepFailed("the ledger is not signed by this service")


def _primary_address(session: Session) -> str:
    primary = session.get_json("/node/network/nodes/primary")
    return str(next(iter(primary["rpc_interfaces"].values()))["published_address"])


def _kill_primary(nodes: list[dict[str, Any]], address: str) -> None:
    name = next(node["name"] for node in nodes if node["rpcAddress"] == address)
    (directory,) = control_settings.load(os.environ).instances_dir.glob(f"*/*/{name}")
    os.kill(int((directory / "node.pid").read_text()), signal.SIGKILL)


def _whole_again(arm: Arm, before: list[dict[str, Any]]) -> bool:
    now = arm.nodes()
    return len(now) == len(before) and {row["name"] for row in now} != {row["name"] for row in before}


def _pass(member: Member, actions: list[dict[str, Any]]) -> None:
    proposal = member.propose(actions)
    if proposal["proposalState"] == "Open":
        proposal = member.accept(proposal["proposalId"])
    if proposal["proposalState"] != "Accepted":
        raise StepFailed(f"the proposal is {proposal['proposalState']}")


def _eventually(what: str, check: Callable[[], Any]) -> Any:
    """The first true answer; errors of nodes that are just then coming or going are waited out."""
    deadline = time.monotonic() + PATIENCE_S
    last: object = None
    while time.monotonic() < deadline:
        try:
            found = check()
            if found:
                return found
        except (SessionError, httpx.HTTPError) as error:
            last = error
        time.sleep(0.1)
    raise StepFailed(f"waited {PATIENCE_S:.0f} s for {what}" + (f" ({last})" if last else ""))


def _expect(answer: Any, status: int) -> None:
    if answer.status != status:
        raise StepFailed(f"expected {status}, got {answer.status}: {answer.body[:300]!r}")


def _checked(answer: httpx.Response) -> Any:
    if answer.status_code >= 400:
        raise StepFailed(f"{answer.request.url.path} answered {answer.status_code}: {answer.text[:300]}")
    return answer.json() if answer.content else None


def _path_of(url: str) -> str:
    return httpx.URL(url).path


def _mccf(*arguments: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "controlplane.cli", *arguments], capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        raise StepFailed(f"mccf {' '.join(arguments)} failed:\n{run.stdout}{run.stderr}")


def _print_next(properties: dict[str, Any], keys: Path, settings: control_settings.Settings) -> None:
    app = properties["appUri"]
    curl = f"curl --cacert {keys}/service_cert.pem --cert {keys}/alice_cert.pem --key {keys}/alice_privk.pem"
    print(f"""
control plane  {settings.base_url}
application    {app}
identity       {properties["identityServiceUri"]}
keys           {keys}

Try next:
  .venv/bin/mccf status
  {curl} {app}/app/accounts/alice-main
  {curl} {app}/app/transfers""")


if __name__ == "__main__":
    sys.exit(main())
