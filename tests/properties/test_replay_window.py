"""The replay window against a naive model: a sorted list, searched and cut (node-api.md 4.3)."""

from hypothesis import given
from hypothesis import strategies as st

from dataplane.errors import RpcError
from dataplane.governance.replay import remember_proposal
from dataplane.kv.store import Store
from dataplane.kv.tables import COSE_RECENT_PROPOSALS, SERVICE_CONFIG, put_json

TIMES = st.one_of(st.integers(0, 3), st.integers(0, 40))  # bursts within one second as well
SUBMISSIONS = st.lists(st.tuples(TIMES, st.integers(0, 3)), max_size=60)
BURSTS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=30)


class Model:
    """What the contract says, word for word, and the rule of ours for a full window."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.window: list[tuple[int, int]] = []

    def submit(self, created_at: int, digest: int) -> str:
        if (created_at, digest) in self.window:
            return "ProposalReplay"
        if self.window and created_at < self.window[len(self.window) // 2][0]:
            return "ProposalCreatedTooLongAgo"
        if len(self.window) >= self.size and (created_at, digest) < self.window[0]:
            return "ProposalCreatedTooLongAgo"
        self.window = sorted([*self.window, (created_at, digest)])[-self.size :]
        return "accepted"


@given(size=st.integers(1, 9), submissions=SUBMISSIONS)
def test_window_does_as_the_model(size: int, submissions: list[tuple[int, int]]) -> None:
    tx = Store().begin()
    put_json(tx, SERVICE_CONFIG, {"recent_cose_proposals_window_size": size})
    model = Model(size)
    for created_at, digest in submissions:
        try:
            remember_proposal(tx, created_at, bytes([digest]) * 32, "pid")
            outcome = "accepted"
        except RpcError as error:
            outcome = error.code
        assert outcome == model.submit(created_at, digest)
        keys = [(int(key[:10]), int(key[11:13], 16)) for key, _ in tx.items(COSE_RECENT_PROPOSALS)]
        assert keys == model.window


@given(size=st.integers(1, 3), submissions=st.one_of(BURSTS, SUBMISSIONS))
def test_an_accepted_proposal_is_never_accepted_again(size: int, submissions: list[tuple[int, int]]) -> None:
    """The property the window exists for, whatever was submitted in between."""
    tx = Store().begin()
    put_json(tx, SERVICE_CONFIG, {"recent_cose_proposals_window_size": size})
    accepted: set[tuple[int, int]] = set()
    for submission in submissions:
        created_at, digest = submission
        try:
            remember_proposal(tx, created_at, bytes([digest]) * 32, "pid")
        except RpcError:
            continue
        assert submission not in accepted
        accepted.add(submission)
