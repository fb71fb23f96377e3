"""Recovery in governance: who must agree, what shares do, and what the service writes when it is open again."""

import json
from base64 import b64decode, b64encode
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.config import RecoveryRole
from dataplane.crypto.aead import open_blob
from dataplane.crypto.certs import endorse_node_csr, self_signed_service_certificate
from dataplane.crypto.cose import decode_sign1, verify_sign1
from dataplane.crypto.keys import rsa_oaep_decrypt, spki_der
from dataplane.crypto.shamir import PRIME, SHARE_SIZE, Share, combine, decode_share, encode_share
from dataplane.governance.recovery import (
    NothingToRecover,
    RecoveredService,
    finish,
    latest_version,
    write_recovery,
)
from dataplane.governance.shares import LatestSecret
from dataplane.kv.store import Store
from dataplane.kv.tables import (
    ENCRYPTED_LEDGER_SECRETS,
    ENCRYPTED_SUBMITTED_SHARES,
    HISTORICAL_ENCRYPTED_LEDGER_SECRET,
    LAST_RECOVERY_TYPE,
    NODES_INFO,
    PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT,
    PREVIOUS_SERVICE_LAST_SIGNED_ROOT,
    RECOVERY_SHARES,
    SERVICE_INFO,
    SERVICE_PREVIOUS_SERVICE_IDENTITY,
    SIGNATURES,
)
from dataplane.ledger.secrets import SharedSecret, node_secrets, unwrap
from dataplane.txid import TxID
from tests.support.governance import (
    LEDGER_SECRET,
    NOW,
    Answer,
    Party,
    World,
    action,
    describe_node,
    node_key,
    party,
    service_cert,
    service_key,
)

MEMBERS = [party(name) for name in ("alice", "bob", "carol")]
OWNER = party("owner", role=RecoveryRole.OWNER)
NEW_SECRET = bytes(range(100, 132))


@cache
def new_service_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


@cache
def new_service_cert() -> str:
    return self_signed_service_certificate(new_service_key(), "CN=Test Service,O=Acme", 8, NOW, 90)


def lost(*members: Party, threshold: int = 2, rekeys: int = 0) -> World:
    """A service that was open, rekeyed so often, and lost all its nodes."""
    world = World(members or MEMBERS, threshold=threshold)
    world.activate()
    world.open()
    for _ in range(rekeys):
        assert world.accept(action("trigger_ledger_rekey")).status == 200
        world.ops.secret = LatestSecret(world.store.version + 1, restored_secret(world))
        world.sign()
    world.sign()
    return world


def recover(world: World, node: str = "node9") -> TxID:
    """The first transaction of the service that replaces it."""
    created = TxID(4, world.store.version + 1)
    description = describe_node(node, 9900)
    endorsed = endorse_node_csr(new_service_key(), new_service_cert(), description.csr_pem or "", 5, NOW, 1)
    tx = world.store.begin()
    write_recovery(tx, RecoveredService(new_service_cert(), created, description, endorsed))
    world.commit(tx)
    world.sign()
    world.ops.secret = LatestSecret(created.seqno, NEW_SECRET)
    world.ops.service_key = new_service_key()
    world.node = description
    return created


def agree(world: World, previous: str | None = None) -> Answer:
    identities = {"next_service_identity": new_service_cert(), "previous_service_identity": previous or service_cert()}
    return world.accept(action("transition_service_to_open", **identities))


def waiting(*members: Party, threshold: int = 2, rekeys: int = 0) -> World:
    world = lost(*members, threshold=threshold, rekeys=rekeys)
    recover(world)
    assert agree(world).status == 200
    return world


def share_of(world: World, member: Party) -> Share:
    assert member.encryption_key is not None
    encrypted = world.get(f"/recovery/encrypted-shares/{member.id}").body["encryptedShare"]
    return decode_share(rsa_oaep_decrypt(member.encryption_key, b64decode(encrypted)))


def restored_secret(world: World) -> bytes:
    shares = [share_of(world, member) for member in MEMBERS[:2]]
    return unwrap(b64decode(world.read(RECOVERY_SHARES)["wrapped_latest_ledger_secret"]), combine(shares, 2))


def submit(world: World, member: Party, share: Share | bytes, *, to: Party | None = None) -> Answer:
    raw = share if isinstance(share, bytes) else encode_share(share)
    path = f"/recovery/members/{(to or member).id}:recover"
    return world.post(member, path, "recovery_share", {"share": b64encode(raw).decode()})


def handed_out(world: World) -> list[SharedSecret]:
    key = party("enc").encryption_key
    assert key is not None
    return node_secrets(world.read(ENCRYPTED_LEDGER_SECRETS), world.node.id, key)


def end(world: World, previous: LatestSecret | None = None) -> bool:
    tx = world.store.begin()
    opened = finish(
        tx,
        current=world.ops.secret,
        previous=previous or LatestSecret(1, LEDGER_SECRET),
        service_key=new_service_key(),
        draw=world.ops.draw,
        now=NOW,
    )
    if opened:
        world.commit(tx)
    return opened


def test_the_first_transaction_of_a_recovered_service() -> None:
    world = lost()
    root, old_node = world.read(SIGNATURES)["root"], world.node.id
    created = recover(world)
    info = world.read(SERVICE_INFO)
    assert info == {
        "cert": new_service_cert(),
        "status": "Recovering",
        "recovery_count": 1,
        "current_service_create_txid": str(created),
        "previous_service_identity_version": 1,
    }
    assert world.read(SERVICE_PREVIOUS_SERVICE_IDENTITY) == service_cert()
    assert world.read(PREVIOUS_SERVICE_LAST_SIGNED_ROOT) == root
    assert world.read(NODES_INFO, old_node)["status"] == "Retired"
    assert world.read(NODES_INFO, world.node.id)["status"] == "Trusted"


def test_there_must_be_a_service_to_recover() -> None:
    tx = Store().begin()
    with pytest.raises(NothingToRecover):
        write_recovery(tx, RecoveredService("", TxID(4, 1), describe_node("node9", 9900), ""))
    assert not tx.writes


def test_the_members_must_name_both_identities() -> None:
    world = lost()
    recover(world)
    for previous, reason in (
        (MEMBERS[0].cert_pem, "Unable to open service: Previous service identity does not match.\n"),
        (new_service_cert(), "Unable to open service: Previous service identity does not match.\n"),
    ):
        answer = agree(world, previous)
        assert answer.status == 500
        assert reason in answer.message
        assert ("error", next(text for _, text in world.ops.console if reason in text)) in world.ops.console
    answer = world.accept(action("transition_service_to_open", next_service_identity=new_service_cert()))
    assert answer.status == 500
    assert "both" in answer.message
    wrong_next = {"next_service_identity": service_cert(), "previous_service_identity": service_cert()}
    answer = world.accept(action("transition_service_to_open", **wrong_next))
    assert "Service identity does not match" in answer.message
    assert world.read(SERVICE_INFO)["status"] == "Recovering"
    assert agree(world).status == 200
    assert world.read(SERVICE_INFO)["status"] == "WaitingForRecoveryShares"
    assert world.read(LAST_RECOVERY_TYPE) == "RECOVERY_SHARES"


def test_no_share_is_taken_before_the_members_agree_nor_after_the_secrets_are_handed_out() -> None:
    world = lost()
    share = share_of(world, MEMBERS[0])
    recover(world)
    answer = submit(world, MEMBERS[0], share)
    assert (answer.status, answer.code) == (403, "ServiceNotWaitingForRecoveryShares")
    agree(world)
    for member in MEMBERS[:2]:
        submit(world, member, share_of(world, member))
    answer = submit(world, MEMBERS[2], share_of(world, MEMBERS[2]))
    assert (answer.status, answer.code) == (403, "NodeAlreadyRecovering")


def test_shares_below_the_threshold_recover_nothing_and_the_last_one_everything() -> None:
    world = waiting()
    first = submit(world, MEMBERS[0], share_of(world, MEMBERS[0]))
    assert first.body == {
        "message": "1/2 recovery shares successfully submitted",
        "submittedCount": 1,
        "recoveryThreshold": 2,
        "fullKeySubmitted": False,
    }
    assert ENCRYPTED_LEDGER_SECRETS not in world.written
    again = submit(world, MEMBERS[0], share_of(world, MEMBERS[0]))  # the same member does not count twice
    assert again.body["submittedCount"] == 1
    last = submit(world, MEMBERS[1], share_of(world, MEMBERS[1]))
    assert last.body["message"] == ("2/2 recovery shares successfully submitted\nEnd of recovery procedure initiated")
    assert handed_out(world) == [SharedSecret(1, LEDGER_SECRET, world.ops.history[0][0])]


def test_shares_by_certificate_and_by_signature_in_the_classic_dialect() -> None:
    world = waiting()
    shares = [b64encode(encode_share(share_of(world, member))).decode() for member in MEMBERS[:2]]
    body = json.dumps({"share": shares[0]}).encode()
    path = "/recovery_share"
    first = world.send("POST", path, body, "", peer=MEMBERS[0].peer, content_type="application/json")
    assert first.body == {"message": "1/2 recovery shares successfully submitted"}
    last = world.post(MEMBERS[1], path, "recovery_share", {"share": shares[1]}, query="")
    assert last.body == {"message": "2/2 recovery shares successfully submitted\nEnd of recovery procedure initiated"}
    assert [secret.key for secret in handed_out(world)] == [LEDGER_SECRET]


def test_submitted_shares_are_readable_with_the_new_secret_only() -> None:
    world = waiting()
    share = share_of(world, MEMBERS[0])
    submit(world, MEMBERS[0], share)
    blob = b64decode(world.read(ENCRYPTED_SUBMITTED_SHARES, MEMBERS[0].id))
    assert open_blob(NEW_SECRET, blob) == encode_share(share)
    assert len(blob) == 72
    with pytest.raises(ValueError, match="tag"):
        open_blob(LEDGER_SECRET, blob)


def test_an_owner_recovers_alone() -> None:
    world = waiting(*MEMBERS, OWNER)
    answer = submit(world, OWNER, share_of(world, OWNER))
    assert answer.body["message"] == ("Full recovery key successfully submitted\nEnd of recovery procedure initiated")
    assert answer.body["fullKeySubmitted"] is True
    assert [secret.key for secret in handed_out(world)] == [LEDGER_SECRET]


def test_owners_only() -> None:
    world = waiting(OWNER, threshold=1)
    assert submit(world, OWNER, share_of(world, OWNER)).body["fullKeySubmitted"] is True
    assert [secret.key for secret in handed_out(world)] == [LEDGER_SECRET]


@pytest.mark.parametrize("wrong", [Share(3, (1,) * 10), Share(0, (5,) * 10)])
def test_a_wrong_share_clears_the_submission(wrong: Share) -> None:
    world = waiting()
    submit(world, MEMBERS[0], share_of(world, MEMBERS[0]))
    answer = submit(world, MEMBERS[1], wrong)
    assert (answer.status, answer.code) == (500, "InternalError")
    assert answer.message == "Failed to initiate private recovery."
    assert world.raw(ENCRYPTED_SUBMITTED_SHARES, MEMBERS[0].id) is None
    assert ENCRYPTED_LEDGER_SECRETS not in world.written
    for member in MEMBERS[1:]:  # the members begin again
        answer = submit(world, member, share_of(world, member))
    assert answer.status == 200
    assert [secret.key for secret in handed_out(world)] == [LEDGER_SECRET]


def test_two_members_with_the_same_share() -> None:
    world = waiting()
    share = share_of(world, MEMBERS[0])
    submit(world, MEMBERS[0], share)
    assert submit(world, MEMBERS[1], share).status == 500
    assert world.raw(ENCRYPTED_SUBMITTED_SHARES, MEMBERS[0].id) is None


@pytest.mark.parametrize("raw", [b"", b"short", bytes(SHARE_SIZE + 1), (PRIME).to_bytes(4, "little") * 11])
def test_bytes_that_are_no_share_change_nothing(raw: bytes) -> None:
    world = waiting()
    before = world.snapshot()
    answer = submit(world, MEMBERS[0], raw)
    assert (answer.status, answer.code) == (500, "InternalError")
    assert world.snapshot() == before


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"share": 1}', b'{"share": "?"}', b'{"shares": ""}', b"\xff"])
def test_a_payload_without_a_share(payload: bytes) -> None:
    world = waiting()
    answer = world.post(MEMBERS[0], f"/recovery/members/{MEMBERS[0].id}:recover", "recovery_share", payload)
    assert (answer.status, answer.code) == (400, "InvalidInput")


def test_a_share_for_another_member_or_by_somebody_else() -> None:
    world = waiting()
    share = share_of(world, MEMBERS[0])
    answer = submit(world, MEMBERS[0], share, to=MEMBERS[1])
    assert (answer.status, answer.code) == (400, "InvalidAuthenticationInfo")
    assert submit(world, party("stranger"), share).status == 401
    assert world.get(f"/recovery/encrypted-shares/{party('stranger').id}").code == "ResourceNotFound"


def test_all_secrets_of_a_rekeyed_ledger_are_handed_out() -> None:
    world = waiting(rekeys=2)
    versions = [1, *(seqno + 1 for seqno, _ in world.ops.history[1:])]
    for member in MEMBERS[:2]:
        submit(world, member, share_of(world, member))
    assert [(secret.version, secret.stored_version) for secret in handed_out(world)] == [
        (version, seqno) for version, (seqno, _) in zip(versions, world.ops.history, strict=True)
    ]
    assert handed_out(world)[0].key == LEDGER_SECRET
    assert latest_version(world.ops.history) == versions[-1]


def test_the_service_opens_with_new_shares_and_the_old_secret_under_the_new() -> None:
    world = waiting()
    for member in MEMBERS[:2]:
        submit(world, member, share_of(world, member))
    opened_first = world.ops.history[0][0]
    assert end(world)
    assert not end(world)  # at most once
    assert world.read(SERVICE_INFO)["status"] == "Open"
    assert world.raw(ENCRYPTED_SUBMITTED_SHARES, MEMBERS[0].id) is None
    assert restored_secret(world) == NEW_SECRET
    value = world.read(HISTORICAL_ENCRYPTED_LEDGER_SECRET)
    assert value["next_version"] == world.ops.secret.version
    previous = value["previous_ledger_secret"]
    assert (previous["version"], previous["previous_secret_stored_version"]) == (1, opened_first)
    assert open_blob(NEW_SECRET, b64decode(previous["encrypted_data"])) == LEDGER_SECRET


def test_the_old_identity_is_endorsed_by_the_new() -> None:
    world = lost()
    first = world.read(PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
    written_at = world.store.begin().version_of_previous_write(PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, bytes(8))
    root = world.read(SIGNATURES)["root"]
    created = recover(world)
    agree(world)
    end(world)
    value = world.read(PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
    last = TxID(created.view - 2, created.seqno - 1)
    assert (value["endorsement_epoch_begin"], value["endorsement_epoch_end"]) == ("2.1", str(last))
    assert value["previous_version"] == written_at
    assert b64decode(value["endorsing_key"]) == spki_der(new_service_key().public_key())
    message = decode_sign1(b64decode(value["endorsement"]))
    assert message.payload == spki_der(service_key().public_key()) == b64decode(first["endorsing_key"])
    assert verify_sign1(message, new_service_key().public_key())
    epoch = message.protected["ccf.v1"]
    assert dict(epoch) == {  # type: ignore[call-overload]
        "epoch.start.txid": "2.1",
        "epoch.end.txid": str(last),
        "epoch.end.merkle.root": bytes.fromhex(root),
    }


def test_a_second_recovery_endorses_from_where_the_first_one_began() -> None:
    world = lost()
    first = recover(world)
    agree(world)
    end(world)
    world.sign()
    tx = world.store.begin()
    second = TxID(first.view + 2, world.store.version + 1)
    write_recovery(
        tx,
        RecoveredService(service_cert(), second, describe_node("node10", 9910), node_key("node10").curve.name),
    )
    world.commit(tx)
    assert world.read(SERVICE_INFO)["recovery_count"] == 2
    assert world.read(SERVICE_INFO)["previous_service_identity_version"] == first.seqno
    world.accept(
        action(
            "transition_service_to_open",
            next_service_identity=service_cert(),
            previous_service_identity=new_service_cert(),
        )
    )
    end(world)
    value = world.read(PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
    assert value["endorsement_epoch_begin"] == str(first)
    assert value["endorsement_epoch_end"] == str(TxID(second.view - 2, second.seqno - 1))


def test_a_node_that_unseals_needs_no_shares() -> None:
    world = lost()
    recover(world)
    world.ops.sealed = {1: LEDGER_SECRET}
    assert agree(world).status == 200
    assert world.read(LAST_RECOVERY_TYPE) == "LOCAL_UNSEALING"
    assert [secret.key for secret in handed_out(world)] == [LEDGER_SECRET]


@pytest.mark.parametrize("sealed", [{}, {7: LEDGER_SECRET}])
def test_nothing_to_unseal_refuses_the_proposal(sealed: dict[int, bytes]) -> None:
    world = lost()
    recover(world)
    world.ops.sealed = sealed
    answer = agree(world)
    assert answer.status == 500
    assert "could be unsealed" in answer.message
    assert world.read(SERVICE_INFO)["status"] == "Recovering"


def test_a_sealed_secret_that_does_not_fit_refuses_the_proposal() -> None:
    world = lost(rekeys=1)
    recover(world)
    world.ops.sealed = {latest_version(world.ops.history): bytes(32)}
    answer = agree(world)
    assert "does not open the older ones" in answer.message
    assert json.dumps(world.read(SERVICE_INFO)["status"]) == '"Recovering"'
