"""k-1 shares recover nothing, k recover everything: in random consortia, and with the public tool at a real node.

    python -m tests.shown.shares [CONSORTIA] [SEED]

Each consortium has members of every role, a threshold and a ledger rekeyed so often. Everything below the threshold is
tried in the way a service would take it and in the way a thief would: any k-1 shares combined as if they were enough.
The control adds the missing share, and the last one of each must do.
"""

import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from itertools import combinations, islice
from pathlib import Path
from random import Random

from dataplane.config import RecoveryRole
from dataplane.crypto.aead import DecryptionFailed
from dataplane.crypto.keys import rsa_oaep_decrypt
from dataplane.crypto.shamir import Share, combine, decode_share
from dataplane.governance.members import acknowledge, add_member, update_state_digest
from dataplane.governance.nodes import NodeStatus, add_node
from dataplane.governance.recovery import submit_share
from dataplane.governance.rekey import draw_bytes, rekey
from dataplane.governance.shares import LatestSecret, encrypted_share, issue_shares
from dataplane.kv.store import Store
from dataplane.kv.tables import (
    ENCRYPTED_LEDGER_SECRETS,
    HISTORICAL_ENCRYPTED_LEDGER_SECRET,
    RECOVERY_SHARES,
    SERVICE_CONFIG,
    SERVICE_INFO,
    SIGNATURES,
    UNIT_KEY,
    get_json,
    load_json,
    put_json,
)
from dataplane.kv.tx import Tx
from dataplane.ledger.secrets import historical_secret, node_secrets, unwrap
from tests.support.ccf_package import available_versions, ccf_python
from tests.support.governance import Party, describe_node, party
from tests.support.nodes import ROOT, Service
from tests.support.recovery import agree, begin_recovery, share_of, wait_until_open
from tests.support.results import save

MAX_PARTICIPANTS, MAX_OWNERS, MAX_REKEYS = 9, 2, 3
_TRIED = 40  # sets of k-1 shares combined by the thief, of each consortium
NODE = describe_node("node0", 9000)


class Consortium:
    """A service in a store: members who hold shares, and all ledger secrets so far."""

    def __init__(self, random: Random) -> None:
        self.random = random
        count = random.randint(1, MAX_PARTICIPANTS)
        self.threshold = random.randint(1, count)
        self.participants = [party(f"participant{index}") for index in random.sample(range(MAX_PARTICIPANTS), count)]
        owners = random.randint(0, MAX_OWNERS)
        self.owners = [party(f"owner{index}", role=RecoveryRole.OWNER) for index in range(owners)]
        self.store = Store()
        self.secrets = [(1, draw_bytes(32, self.draw))]
        self.history: list[tuple[int, dict[str, object]]] = []
        self._apply(self._open)
        for _ in range(random.randint(0, MAX_REKEYS)):
            self._rekey()

    def draw(self) -> int:
        return self.random.getrandbits(64)

    def share(self, member: Party) -> Share:
        """The member's share, decrypted."""
        assert member.encryption_key is not None
        encrypted = encrypted_share(self.store.begin(), member.id)
        assert encrypted is not None
        return decode_share(rsa_oaep_decrypt(member.encryption_key, b64decode(encrypted)))

    def steal(self, shares: Sequence[Share]) -> bytes | None:
        """The ledger secret, from these shares combined as if they were enough; None where that gives nothing."""
        wrapped = b64decode(get_json(self.store.begin(), RECOVERY_SHARES)["wrapped_latest_ledger_secret"])
        try:
            return unwrap(wrapped, combine(shares, len(shares)) if shares[0].x else shares[0].limbs)
        except DecryptionFailed:
            return None

    def submit(self, members: Sequence[Party]) -> list[bytes]:
        """The ledger secrets the node is handed after these members submitted; empty while the shares do not do."""
        current = LatestSecret(self.store.version + 1, bytes(32))

        def write(tx: Tx) -> None:
            info = {"status": "WaitingForRecoveryShares", "current_service_create_txid": f"4.{current.version}"}
            put_json(tx, SERVICE_INFO, info)

        store = Store(self.store.tables(), self.store.version)
        _commit(store, write)
        for member in members:
            tx = store.begin()
            share = self.share(member)
            submit_share(
                tx,
                member.id,
                share.x.to_bytes(4, "little") + b"".join(limb.to_bytes(4, "little") for limb in share.limbs),
                current=current,
                history=self.history,
                draw=self.draw,
            )
            store.commit(tx, store.version + 1)
        value = get_json(store.begin(), ENCRYPTED_LEDGER_SECRETS)
        handed_out = (
            store.begin().version_of_previous_write(ENCRYPTED_LEDGER_SECRETS, UNIT_KEY) or 0
        ) >= current.version
        key = party("enc").encryption_key
        assert key is not None
        return [secret.key for secret in node_secrets(value, NODE.id, key)] if handed_out else []

    def _apply(self, write: Callable[..., None]) -> None:
        seqno, tx = _commit(self.store, write)
        value = tx.get(HISTORICAL_ENCRYPTED_LEDGER_SECRET, UNIT_KEY)
        if value is not None:
            self.history.append((seqno, load_json(value)))

    def _open(self, tx: Tx) -> None:
        put_json(tx, SERVICE_CONFIG, {"recovery_threshold": self.threshold})
        put_json(tx, SERVICE_INFO, {"status": "Open"})
        put_json(tx, SIGNATURES, {"root": "aa" * 32})
        add_node(tx, NODE, NodeStatus.TRUSTED)
        for member in [*self.participants, *self.owners]:
            add_member(tx, member.new_member())
            acknowledge(tx, member.id, update_state_digest(tx, member.id), b"")
        put_json(tx, HISTORICAL_ENCRYPTED_LEDGER_SECRET, historical_secret(next_version=1))
        issue_shares(tx, self.secrets[-1][1], self.draw)

    def _rekey(self) -> None:
        current = LatestSecret(*self.secrets[-1])
        self._apply(lambda tx: rekey(tx, current, self.draw))
        key = party("enc").encryption_key
        assert key is not None
        (shared,) = node_secrets(get_json(self.store.begin(), ENCRYPTED_LEDGER_SECRETS), NODE.id, key)
        self.secrets.append((self.store.version + 1, shared.key))


def _commit(store: Store, write: Callable[..., None]) -> tuple[int, Tx]:
    tx = store.begin()
    write(tx)
    store.commit(tx, store.version + 1)
    return store.version, tx


def run(consortia: int, seed: int, directory: Path) -> dict[str, object]:
    """Judge that many consortia, then real services with the public tool. Raises where shares do too much or less."""
    sets = sum(_judge(Consortium(Random(f"{seed}.{number}"))) for number in range(consortia))
    return {
        "consortia": consortia,
        "seed": seed,
        "sets_below_threshold": sets,
        "real": [_with_public_tool(version, directory / version) for version in available_versions()],
        "control": "the share that was missing recovers every ledger secret",
    }


def _judge(consortium: Consortium) -> int:
    """How many sets of k-1 shares were tried, all in vain."""
    k, participants, secrets = consortium.threshold, consortium.participants, [key for _, key in consortium.secrets]
    consortium.random.shuffle(participants)
    below = list(islice(combinations(participants, k - 1), _TRIED)) if k > 1 else []
    for members in below:
        assert consortium.steal([consortium.share(member) for member in members]) is None, "k-1 shares gave a secret"
    assert consortium.submit(participants[: k - 1]) == [], "k-1 submissions were enough"
    chosen = consortium.random.sample(participants, k)
    assert consortium.steal([consortium.share(member) for member in chosen]) == secrets[-1], "k shares gave nothing"
    assert consortium.submit(chosen) == secrets, "k submissions did not give every secret"
    for owner in consortium.owners:
        assert consortium.submit([owner]) == secrets, "an owner's key was not enough"
    return len(below)


def _with_public_tool(version: str, directory: Path) -> dict[str, object]:
    """Members of a real service submit with `submit_recovery_share.sh` of the public package."""
    with Service.start(1, directory / "lost", members=3, open_with=ROOT / "samples" / "logging") as lost:
        lost.pass_proposal([{"name": "set_recovery_threshold", "args": {"recovery_threshold": 2}}])
        _wait_for_commit(lost)
        lost.nodes[0].kill()
        lost.stop(check=False)
        service = begin_recovery(lost, directory / "recovered")
    with service:
        agree(service, lost.certificate)
        first = _submit(service, 0, version)
        assert "1/2 recovery shares successfully submitted" in first, first
        status = service.any_session().get_json("/node/network")["service_status"]
        assert status == "WaitingForRecoveryShares", status
        second = _submit(service, 2, version)
        assert "End of recovery procedure initiated" in second, second
        wait_until_open(service)
        assert len(share_of(service, service.members[1])) > 0
    return {"ccf": version, "answers": [_body(first), _body(second)]}


def _wait_for_commit(service: Service) -> None:
    session = service.session(user="user0")
    answer = session.request("POST", "/app/log/public?id=1", body=b'{"id": 1, "msg": "after the proposal"}')
    assert answer.txid is not None
    session.wait_for_commit(answer.txid)


def _submit(service: Service, member: int, version: str) -> str:
    files = service.members[member]
    bin_directory = ccf_python(version).parent
    trusted = service.directory / "trusted.pem"
    trusted.write_text(service.certificate)
    run = subprocess.run(
        [
            str(bin_directory / "submit_recovery_share.sh"),
            service.nodes[0].url,
            "--member-enc-privk", str(files.encryption_private_key),
            "--member-id-privk", str(files.private_key),
            "--member-id-cert", str(files.certificate),
            "--api-version", "2024-07-01",
            "--cacert", str(trusted),
        ],
        env={"PATH": f"{bin_directory}:/usr/bin:/bin"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


def _body(answer: str) -> str:
    return answer.replace("\r", "").rpartition("\n\n")[2].strip()


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    count, seed = (*arguments, *(100, int(time.time()))[len(arguments) :])
    with tempfile.TemporaryDirectory() as temporary:
        save("shares", run(count, seed, Path(temporary)))
