"""CCF's variant of Raft as a deterministic machine: time, randomness, disk and network are arguments.

    tick, receive, propose, persisted, reject_after  ->  take_output

Equal state and equal input give equal output. Rules are those of node-api.md 7.2 and ledger-format.md 3:

- only signed entries commit, and only one of the leader's own view moves the commit, when a majority of *every*
  active configuration has it synced (Raft section 5.4.2: entries of earlier views commit with it);
- votes compare the last signed entry; a new leader drops what follows its own and asks for a signature;
- whoever learns of a newer view drops its unsigned suffix; a follower truncates a signed one only at an entry
  that conflicts with the leader's, never because an AppendEntries starts early;
- persist before promise: acknowledgements and the leader's own tally stop at what `persisted` reported.

Refinements beyond the contract. A follower publishes a commit only once the entries are synced here too. A
candidate that is in none of our active configurations is ignored while we hear from a leader (Raft dissertation
4.2.3), but heard when we do not: it may know a newer configuration than we do. And a node whose core cannot run for a
while (a script at its time limit) keeps its place: others count its beats as contact, it does not count its own
absence as their silence. Neither moves anything but timers, so safety is Raft's as before.

Over 400 lines because roles share all their state; what can be told apart is in log, configuration, followers and
reports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dataplane.consensus.configuration import (
    Configuration,
    Configurations,
    RetirementPhase,
    is_well_formed,
)
from dataplane.consensus.followers import Followers
from dataplane.consensus.log import Entry, Log, Nodes
from dataplane.consensus.messages import (
    AppendEntries,
    AppendEntriesAck,
    AppendEntriesNack,
    Beat,
    Message,
    ProposeRequestVote,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from dataplane.consensus.output import (
    Became,
    Leadership,
    Membership,
    Output,
    RoleChanged,
    SignatureDue,
)
from dataplane.consensus.parameters import Origin, Settings
from dataplane.consensus.reports import Reports
from dataplane.txid import NodeId, TxID, TxStatus, status_of

START_VIEW = 2  # ledger-format.md 3: genesis is 2.1


class NotLeader(Exception):
    """Only the leader may propose; `leader_id` is where to go, None while unknown."""

    def __init__(self, leader_id: NodeId | None) -> None:
        super().__init__(f"not the leader; the leader is {leader_id or 'unknown'}")
        self.leader_id = leader_id


class Raft:
    """One node's consensus. Begin with `Raft.start` or `Raft.join`.

    draw(low, high): a random integer, both ends included, for the election timer.
    read(first, last): committed entries from the owner's ledger; may return a shorter prefix, and nothing only where
        the ledger begins later, after the origin.
    """

    def __init__(
        self,
        *,
        node_id: NodeId,
        settings: Settings,
        draw: Callable[[int, int], int],
        read: Callable[[int, int], Sequence[Entry]],
        origin: Origin | None = None,
    ) -> None:
        origin = origin or Origin()
        self.node_id = node_id
        self._settings = settings
        self._draw = draw
        self._log = Log(
            max_cached_bytes=settings.max_cached_bytes, origin_seqno=origin.seqno, view_history=origin.view_history
        )
        self._configurations = Configurations(origin.configurations, origin.retirements)
        self._role = Leadership.NONE
        self._view = self._log.last_view
        self._leader_id: NodeId | None = None
        self._voted_for: NodeId | None = None
        self._votes: set[NodeId] = set()
        self._followers = Followers(self._log, settings, read)
        self._persisted_seqno = origin.seqno  # our log is synced up to here
        self._verified_seqno = origin.seqno  # our log is the current leader's up to here
        self._known_commit = origin.seqno  # committed as the leader says, perhaps not synced here yet
        self._unacknowledged_bytes = 0
        self._refused_round = (0, -1)  # (view, round) of the last AE-NACK sent
        self._refusing_ms = 0  # after reject_after: how long not to ask for the same entries again
        self._election_ms = 0
        self._election_timeout_ms = 0
        self._leader_silent_ms = settings.election_timeout_ms
        self._heartbeat_ms = 0
        self._restart_election_timer()
        # What take_output will hand out
        self._written_seqno = origin.seqno  # the owner holds entries up to here
        self._truncate_after: int | None = None
        self._append: list[Entry] = []
        self._sync_due = False
        self._ack_due = False
        self._send: list[tuple[NodeId, Message]] = []
        self._commit_due: int | None = None
        self._signature_due = False
        self._reports = Reports(RoleChanged(self._role, self._view, None), self._log, self._configurations)

    @classmethod
    def start(
        cls,
        *,
        node_id: NodeId,
        settings: Settings,
        draw: Callable[[int, int], int],
        read: Callable[[int, int], Sequence[Entry]],
        origin: Origin | None = None,
        view: int = START_VIEW,
    ) -> Raft:
        """The first node of a new service: leads `view` with an empty log, or with the one that ends at `origin`.

        The first entry proposed must carry a configuration with this node, else nothing ever commits. ValueError when
        `view` is not newer than the origin's.
        """
        raft = cls(node_id=node_id, settings=settings, draw=draw, read=read, origin=origin)
        if view <= raft._view:
            raise ValueError(f"view {view} does not follow view {raft._view} of the origin")
        raft._view = view
        raft._voted_for = node_id
        raft._become_leader()
        raft._signature_due = False
        return raft

    @classmethod
    def join(
        cls,
        *,
        node_id: NodeId,
        settings: Settings,
        draw: Callable[[int, int], int],
        read: Callable[[int, int], Sequence[Entry]],
        origin: Origin | None = None,
    ) -> Raft:
        """A node that waits, with an empty log or one that ends at `origin`, for a leader to contact it.

        It answers votes meanwhile.
        """
        return cls(node_id=node_id, settings=settings, draw=draw, read=read, origin=origin)

    # Inputs

    def tick(self, elapsed_ms: int) -> None:
        """Let time pass."""
        self._leader_silent_ms += elapsed_ms
        self._refusing_ms = max(0, self._refusing_ms - elapsed_ms)
        if self._role is Leadership.LEADER:
            self._tick_leader(elapsed_ms)
        elif self._role is not Leadership.NONE and self._may_campaign():
            self._election_ms += elapsed_ms
            if self._election_ms >= self._election_timeout_ms:
                self._campaign()

    def resume(self, absent_ms: int) -> None:
        """Let time pass during which the owner could not call: what others sent meanwhile has yet to be received.

        So it does not count as their silence, or only as that of one heartbeat.
        """
        if 2 * absent_ms >= self._settings.election_timeout_ms:
            self._election_ms = 0
            self._followers.hear_all()
        self.tick(min(absent_ms, self._settings.message_timeout_ms))

    def receive(self, sender: NodeId, message: Message) -> None:
        """A message from `sender`, whose identity the channel has established."""
        if sender == self.node_id or self._configurations.is_retired(self.node_id):
            return
        if isinstance(message, Beat):
            self._on_beat(sender, message)
            return
        if isinstance(message, RequestVote | RequestPreVote) and self._ignores_candidate(sender):
            return
        if message.view > self._view and not isinstance(message, RequestPreVote):
            self._become_follower(message.view)
        match message:
            case AppendEntries():
                self._on_append_entries(sender, message)
            case AppendEntriesAck():
                self._on_ack(sender, message)
            case AppendEntriesNack():
                self._on_nack(sender, message)
            case RequestVote():
                self._on_request_vote(sender, message)
            case RequestVoteResponse():
                self._on_vote(sender, message, Leadership.CANDIDATE)
            case RequestPreVote():
                self._on_request_pre_vote(sender, message)
            case RequestPreVoteResponse():
                self._on_vote(sender, message, Leadership.PRE_VOTE_CANDIDATE)
            case ProposeRequestVote():
                self._on_propose_request_vote(message)

    def propose(self, entry: Entry) -> None:
        """Append the leader's next entry, which the owner has already written. Raises `NotLeader`.

        ValueError when `entry` is not the next seqno of this view, or its configuration is not well formed.
        """
        if self._role is not Leadership.LEADER:
            raise NotLeader(self._leader_id)
        if (entry.view, entry.seqno) != (self._view, self._log.last_seqno + 1):
            raise ValueError(f"{entry.view}.{entry.seqno} does not follow {self.last_txid} in view {self._view}")
        if entry.configuration is not None and not is_well_formed(entry.configuration):
            raise ValueError("a configuration must be sorted by node id and name each node once")
        assert not self._append, "take the output before proposing"
        self._append_to_log(entry)
        self._written_seqno = entry.seqno
        if entry.configuration is not None:
            self._update_followers(probing=True)

    def persisted(self, seqno: int) -> None:
        """Everything up to `seqno` is synced. See `Output.truncate_after` for syncs that a truncation overtakes."""
        self._persisted_seqno = max(self._persisted_seqno, min(seqno, self._log.last_seqno))
        if self._role is Leadership.LEADER:
            self._advance_commit()
            return
        self._ack_due = True
        self._follow_commit()

    def reject_after(self, seqno: int) -> None:
        """The owner refused the entry after `seqno` that the last output told it to append, and wrote none from there.

        The leader hears of it at its next message after a pause, so that a bad entry does not travel in a loop.
        """
        assert self._role is not Leadership.LEADER, "a leader's own entries are not refused"
        assert not self._append, "refuse before any further input"
        self._forget_after(seqno)
        self._written_seqno = min(self._written_seqno, seqno)
        self._known_commit = self._log.signed_at_or_below(min(self._known_commit, seqno))
        self._refusing_ms = self._settings.message_timeout_ms

    def correct_marks(self, seqno: int, configuration: Nodes | None, retired_committed: tuple[NodeId, ...]) -> None:
        """The owner found that the entry at `seqno`, just received, marks other nodes than the leader said.

        A leader that began at an origin cannot tell what the entries before it mark. The entry is not committed here.
        """
        assert seqno > self._log.commit_seqno, f"the marks of {seqno} have taken effect"
        (entry,) = self._log.cached(seqno, seqno)
        self._log.replace(replace(entry, configuration=configuration, retired_committed=retired_committed))
        self._configurations.rollback(seqno - 1)
        for later in self._log.cached(seqno, self._log.last_seqno):
            self._configurations.append(later)

    def resign(self) -> None:
        """Lead no longer, and name a successor. For an owner that cannot write (any more)."""
        if self._role is Leadership.LEADER:
            self._nominate()
            self._become_follower(self._view)

    def take_output(self) -> Output:
        """Everything to do since the last call; see `Output` for the order."""
        if self._role is Leadership.LEADER:
            self._replicate()
        elif self._ack_due and self._leader_id is not None:
            self._acknowledge(self._leader_id)
        self._ack_due = False
        output = Output(
            truncate_after=self._truncate_after,
            append=tuple(self._append),
            sync=self._sync_due and self._persisted_seqno < self._log.committable_seqno,
            send=tuple(self._send),
            commit=self._commit_due,
            became=self._changes(),
        )
        self._truncate_after = None
        self._append.clear()
        self._sync_due = False
        self._send.clear()
        self._commit_due = None
        self._written_seqno = self._log.last_seqno
        return output

    # What is known

    @property
    def role(self) -> Leadership:
        return self._role

    @property
    def view(self) -> int:
        return self._view

    @property
    def leader_id(self) -> NodeId | None:
        return self._leader_id

    @property
    def last_seqno(self) -> int:
        return self._log.last_seqno

    @property
    def last_txid(self) -> TxID:
        return TxID(self._log.last_view, self._log.last_seqno)

    @property
    def committable_seqno(self) -> int:
        """Seqno of the last signed entry, 0 when there is none."""
        return self._log.committable_seqno

    @property
    def commit_seqno(self) -> int:
        return self._log.commit_seqno

    @property
    def commit_txid(self) -> TxID:
        return TxID(self._log.view_at(self._log.commit_seqno), self._log.commit_seqno)

    @property
    def persisted_seqno(self) -> int:
        return self._persisted_seqno

    @property
    def view_history(self) -> list[int]:
        """Element i is the first seqno of view i+1 (ledger-format.md 3)."""
        return self._log.view_history()

    def view_at(self, seqno: int) -> int:
        """View of the entry at `seqno`, 0 beyond the end."""
        return self._log.view_at(seqno)

    def status(self, txid: TxID) -> TxStatus:
        """Status of a transaction as this node sees it (ledger-format.md 3)."""
        return status_of(txid, self._log.view_at(txid.seqno), self.commit_txid)

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Active configurations: the current one first, then the pending ones."""
        return self._configurations.active

    def addresses(self) -> dict[NodeId, str]:
        """Address of every node this one may have to talk to: voters, and nodes that are retiring."""
        return self._configurations.replicated()

    def has_left(self, node_id: NodeId) -> bool:
        """Whether a node's retirement is final, as far as this node's log tells."""
        return self._configurations.is_retired(node_id)

    @property
    def membership(self) -> Membership:
        return Membership.ACTIVE if self.retirement_phase is None else Membership.RETIRED

    @property
    def retirement_phase(self) -> RetirementPhase | None:
        """Phase of this node's own retirement, None while it is a member or a joiner."""
        if self._configurations.is_retired(self.node_id):
            return RetirementPhase.RETIRED_COMMITTED
        return self.retirements().get(self.node_id)

    def retirements(self) -> dict[NodeId, RetirementPhase]:
        """Nodes whose retirement is not final yet, by node id."""
        return self._configurations.retirements(self._log.committable_seqno, self._log.commit_seqno)

    def unmarked_retirements(self) -> tuple[NodeId, ...]:
        """Completed retirements that no entry marks yet: what a leader's owner should propose as `retired_committed`.

        To be asked after every commit and on becoming leader, as a predecessor may have left some.
        """
        return self._configurations.unmarked(self._log.commit_seqno)

    def beats(self) -> tuple[tuple[NodeId, Beat], ...]:
        """What to send, by receiver, while this core cannot run but its node lives and keeps its place."""
        if self._role is Leadership.LEADER:
            return tuple((node_id, Beat(self._view)) for node_id in self._followers)
        if self._role is Leadership.FOLLOWER and self._leader_id is not None:
            return ((self._leader_id, Beat(self._view)),)
        return ()

    def acknowledged(self) -> dict[NodeId, tuple[int, int]]:
        """A leader's followers by node id: (seqno synced there, milliseconds since the last answer)."""
        return self._followers.acknowledged()

    # Roles

    def _become_follower(self, view: int) -> None:
        """Follow in `view`, leader unknown so far; unsigned entries of the past are dropped.

        A follower's election timer runs on: a candidate that cannot win must not keep others from trying.
        """
        if self._role is not Leadership.FOLLOWER:
            self._restart_election_timer()
        if view > self._view:
            self._view = view
            self._voted_for = None
        self._role = Leadership.FOLLOWER
        self._leader_id = None
        self._votes = set()
        self._followers.clear()
        self._signature_due = False
        self._unacknowledged_bytes = 0
        self._rollback(self._log.committable_seqno)
        self._verified_seqno = self._log.commit_seqno

    def _become_candidate(self) -> None:
        self._view += 1
        self._role = Leadership.CANDIDATE
        self._leader_id = None
        self._voted_for = self.node_id
        self._votes = {self.node_id}
        self._restart_election_timer()
        self._broadcast(RequestVote(self._view, self._log.committable))
        self._count_votes()

    def _become_pre_vote_candidate(self) -> None:
        self._role = Leadership.PRE_VOTE_CANDIDATE
        self._leader_id = None
        self._votes = {self.node_id}
        self._restart_election_timer()
        self._broadcast(RequestPreVote(self._view, self._log.committable))
        self._count_votes()

    def _become_leader(self) -> None:
        self._role = Leadership.LEADER
        self._leader_id = self.node_id
        self._votes = set()
        self._rollback(self._log.committable_seqno)
        self._signature_due = True
        self._heartbeat_ms = 0
        self._followers.clear()
        self._update_followers(probing=False)

    # Time

    def _tick_leader(self, elapsed_ms: int) -> None:
        self._followers.let_time_pass(elapsed_ms)
        if not self._hears_quorum():
            self._become_follower(self._view)
            return
        self._heartbeat_ms += elapsed_ms
        if self._heartbeat_ms >= self._settings.message_timeout_ms:
            self._heartbeat_ms = 0
            self._followers.owe_heartbeats()

    def _on_beat(self, sender: NodeId, message: Beat) -> None:
        """Contact, and nothing else: not a view, as whoever cannot run has learnt of no other meanwhile."""
        if message.view != self._view:
            return
        if sender == self._leader_id:
            self._hear_leader()
        elif sender in self._followers:
            self._followers.hear(sender)

    def _hears_quorum(self) -> bool:
        """CheckQuorum: a majority of every active configuration answered within the election timeout."""
        heard = {self.node_id, *self._followers.heard(self._settings.election_timeout_ms)}
        return not self._configurations.active or self._configurations.quorum_in_each(heard)

    def _restart_election_timer(self) -> None:
        limit_ms = self._settings.election_timeout_ms
        self._election_ms = 0
        self._election_timeout_ms = self._draw(limit_ms // 2, limit_ms)

    # Elections

    def _may_campaign(self) -> bool:
        return self._configurations.includes_committable(self.node_id, self._log.committable_seqno)

    def _campaign(self) -> None:
        if self._settings.pre_vote:
            self._become_pre_vote_candidate()
        else:
            self._become_candidate()

    def _ignores_candidate(self, sender: NodeId) -> bool:
        """A candidate from outside must not unseat a leader that works; see the module's second refinement."""
        if self._configurations.is_active(sender):
            return False
        return self._role is Leadership.LEADER or self._hears_leader()

    def _hears_leader(self) -> bool:
        return self._leader_silent_ms < self._settings.election_timeout_ms // 2

    def _on_request_vote(self, sender: NodeId, message: RequestVote) -> None:
        granted = (
            message.view == self._view
            and self._voted_for in (None, sender)
            and message.committable >= self._least_committable()
        )
        if granted:
            self._voted_for = sender
            self._restart_election_timer()
        self._send.append((sender, RequestVoteResponse(self._view, granted)))

    def _least_committable(self) -> TxID:
        """What a candidate must have to get our vote: our last signed entry, as it may be committed.

        Once our own removal is committed, later entries commit without us, so only our commit matters. Candidates
        that do not know of that commit need our vote, and none of them may have what we alone hold beyond it.
        """
        if self.retirement_phase is RetirementPhase.COMPLETED:
            return self.commit_txid
        return self._log.committable

    def _on_request_pre_vote(self, sender: NodeId, message: RequestPreVote) -> None:
        granted = (
            message.view >= self._view
            and message.committable >= self._least_committable()
            and self._role is not Leadership.LEADER
            and not self._hears_leader()
        )
        self._send.append((sender, RequestPreVoteResponse(self._view, granted)))

    def _on_vote(self, sender: NodeId, message: RequestVoteResponse | RequestPreVoteResponse, role: Leadership) -> None:
        if self._role is not role or not message.granted:
            return
        # A vote belongs to one view; a pre-vote may come from a node that is behind.
        if message.view != self._view and role is Leadership.CANDIDATE:
            return
        self._votes.add(sender)
        self._count_votes()

    def _count_votes(self) -> None:
        if not self._configurations.quorum_in_each(self._votes):
            return
        if self._role is Leadership.CANDIDATE:
            self._become_leader()
        else:
            self._become_candidate()

    def _on_propose_request_vote(self, message: ProposeRequestVote) -> None:
        if message.view == self._view and self._role is not Leadership.LEADER and self._may_campaign():
            self._become_candidate()

    def _broadcast(self, message: RequestVote | RequestPreVote) -> None:
        for node_id in sorted(self._configurations.voters()):
            if node_id != self.node_id:
                self._send.append((node_id, message))

    # Following

    def _on_append_entries(self, sender: NodeId, message: AppendEntries) -> None:
        if message.view < self._view:
            self._send.append((sender, AppendEntriesNack(self._view, message.round, self._log.committable)))
            return
        assert self._role is not Leadership.LEADER, f"two leaders in view {self._view}"
        self._follow(sender)
        if self._refusing_ms:
            return
        if self._log.view_at(message.prev.seqno) != message.prev.view:
            self._refuse(sender, message)
            return
        self._merge(message.entries)
        # Not last_seqno: what we hold beyond this message may differ from the leader's log.
        self._verified_seqno = max(self._verified_seqno, message.prev.seqno + len(message.entries))
        agreed_seqno = min(message.commit_seqno, self._verified_seqno)
        self._known_commit = max(self._known_commit, self._log.signed_at_or_below(agreed_seqno))
        self._schedule_ack(message)
        self._follow_commit()

    def _follow(self, leader_id: NodeId) -> None:
        if self._role is Leadership.CANDIDATE:
            self._become_follower(self._view)
        self._role = Leadership.FOLLOWER
        self._leader_id = leader_id
        self._hear_leader()

    def _hear_leader(self) -> None:
        self._leader_silent_ms = 0
        self._election_ms = 0

    def _merge(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.seqno <= self._log.last_seqno:
                if self._log.view_at(entry.seqno) == entry.view:
                    continue
                self._rollback(entry.seqno - 1)
            self._append_to_log(entry)
            self._append.append(entry)

    def _refuse(self, sender: NodeId, message: AppendEntries) -> None:
        """Say where the logs may still agree: our end, or the last entry of a view not newer than `prev`'s.

        Once a round is enough, unless the leader asks again with an empty message: our answer was lost.
        """
        if message.entries and self._refused_round == (message.view, message.round):
            return
        self._refused_round = (message.view, message.round)
        prev, seqno = message.prev, self._log.last_seqno
        if prev.seqno <= seqno:
            seqno = self._log.highest_possible_match(prev.seqno - 1, prev.view)
        seqno = max(seqno, self._log.commit_seqno)
        estimate = TxID(self._log.view_at(seqno), seqno)
        self._send.append((sender, AppendEntriesNack(self._view, message.round, estimate)))

    def _schedule_ack(self, message: AppendEntries) -> None:
        """Answer empty messages, what is synced already, and every so many bytes; the rest when persisted."""
        self._unacknowledged_bytes += sum(len(entry.data) for entry in message.entries)
        if (
            not message.entries
            or message.entries[-1].seqno <= self._persisted_seqno
            or self._unacknowledged_bytes >= self._settings.max_append_bytes
        ):
            self._ack_due = True

    def _acknowledge(self, leader_id: NodeId) -> None:
        self._unacknowledged_bytes = 0
        persisted_seqno = min(self._persisted_seqno, self._verified_seqno)
        ack = AppendEntriesAck(self._view, self._verified_seqno, persisted_seqno)
        self._send.append((leader_id, ack))

    def _follow_commit(self) -> None:
        seqno = self._log.signed_at_or_below(min(self._known_commit, self._persisted_seqno))
        if seqno > self._log.commit_seqno:
            self._commit(seqno)

    # Leading

    def _update_followers(self, *, probing: bool) -> None:
        self._followers.replace(self._configurations.replicated().keys() - {self.node_id}, probing=probing)

    def _replicate(self) -> None:
        self._send.extend(self._followers.messages(self._view))

    def _on_ack(self, sender: NodeId, message: AppendEntriesAck) -> None:
        if sender in self._followers and message.view == self._view:
            self._followers.on_ack(sender, message)
            self._advance_commit()

    def _on_nack(self, sender: NodeId, message: AppendEntriesNack) -> None:
        if sender in self._followers and message.view == self._view:
            self._followers.on_nack(sender, message)

    def _advance_commit(self) -> None:
        acknowledged = {node_id: seqno for node_id, (seqno, _) in self._followers.acknowledged().items()}
        acknowledged[self.node_id] = self._persisted_seqno
        seqno = self._log.signed_at_or_below(self._configurations.agreed_seqno(acknowledged))
        if seqno <= self._log.commit_seqno or self._log.view_at(seqno) != self._view:
            return
        self._commit(seqno)
        self._followers.owe_commit()
        if not self._configurations.replicated().keys() >= set(self._followers):
            self._replicate()  # the last message to a node whose retirement is now final: that it is
        self._update_followers(probing=True)
        if not self._configurations.is_active(self.node_id):
            self._hand_over()

    def _hand_over(self) -> None:
        """Our removal is committed: tell the others, and step down."""
        self._replicate()
        self._nominate()
        self._become_follower(self._view)

    def _nominate(self) -> None:
        """Ask the most advanced of the voters that are heard to campaign at once."""
        quiet_ms = self._settings.election_timeout_ms // 2
        successor = self._followers.most_advanced(self._configurations.voters(), quiet_ms)
        if successor is not None:
            self._send.append((successor, ProposeRequestVote(self._view)))

    # The log

    def _append_to_log(self, entry: Entry) -> None:
        self._log.append(entry)
        self._configurations.append(entry)
        self._sync_due = self._sync_due or entry.signed

    def _rollback(self, seqno: int) -> None:
        """Forget entries after `seqno`, here and, where it holds them, at the owner."""
        if seqno >= self._log.last_seqno:
            return
        assert seqno >= self._known_commit, f"rolling back to {seqno} below commit {self._known_commit}"
        self._forget_after(seqno)
        self._append = [entry for entry in self._append if entry.seqno <= seqno]
        if seqno < self._written_seqno:
            self._truncate_after = seqno
            self._written_seqno = seqno
        self._sync_due = True  # a sync of what remains may have been overtaken by this

    def _forget_after(self, seqno: int) -> None:
        self._log.truncate(seqno)
        self._configurations.rollback(seqno)
        self._persisted_seqno = min(self._persisted_seqno, seqno)
        self._verified_seqno = min(self._verified_seqno, seqno)

    def _commit(self, seqno: int) -> None:
        self._log.commit(seqno)
        self._configurations.commit(seqno)
        self._known_commit = max(self._known_commit, seqno)
        self._commit_due = seqno

    def _changes(self) -> tuple[Became, ...]:
        changes = self._reports.role(RoleChanged(self._role, self._view, self._leader_id))
        if self._signature_due:
            self._signature_due = False
            changes.append(SignatureDue(self._view))
        return (*changes, *self._reports.retirements())
