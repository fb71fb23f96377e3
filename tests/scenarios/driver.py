"""Plays a scenario: commands in the language of CCF's raft scenarios, one a line, told back with what they caused.

    python -m tests.scenarios.driver FILE [--rewrite]

Commands (fields separated by commas, `#` begins a comment; views are called terms as in the original):

    start_node,N                 the first node of a service; writes its configuration and a signature in term 2
    pre_vote_enabled,true        nodes made from here on ask for pre-votes before they campaign (false: they do not)
    create_new_node,N            a node that waits to be contacted
    trust_nodes,TERM,N,...       the leader of TERM adds nodes    (trust_node: one)
    swap_nodes,TERM,out,N,..,in,N,..   leaves out some and adds others, in one entry
    cleanup_nodes,TERM,N,...     marks nodes retired_committed
    replicate,TERM,TEXT          a client's entry                 emit_signature,TERM
    periodic_one,N,MS            time passes for N                periodic_all,MS
    dispatch_one,N               deliver what N has sent          dispatch_all: everything, until nothing is sent
    dispatch_all_once            what has been sent so far        dispatch_single,A,B: the oldest from A to B
    drop_pending,N               forget what N has sent           drop_pending_to,A,B
    disconnect,A,B               reconnect,A,B                    disconnect_node,N    reconnect_node,N
    state_all                    print every node                 state_one,N
    assert_commit_idx,N,SEQNO    assert_detail,N,FIELD,VALUE      assert_!detail,N,FIELD,VALUE
    assert_state_sync            all connected nodes have one log and one commit

Disks are instant. Election timers run for 100 ms, messages for 10 ms. Beside each play lies what it prints; change
that file only for a change you understand.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dataplane.consensus.details import details
from dataplane.consensus.log import Entry, Nodes
from dataplane.consensus.messages import (
    AppendEntries,
    AppendEntriesAck,
    AppendEntriesNack,
    Message,
    ProposeRequestVote,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from dataplane.consensus.output import Became, Leadership, RetirementChanged, RoleChanged, SignatureDue
from dataplane.consensus.parameters import Settings
from dataplane.consensus.raft import Raft

SETTINGS = Settings(election_timeout_ms=100, message_timeout_ms=10)


class ScenarioFailed(AssertionError):
    """An assertion of a play does not hold, or a command makes no sense."""


@dataclass(slots=True)
class Actor:
    """A node on stage: its core, its ledger, and what it has sent and nobody has received."""

    raft: Raft
    ledger: list[Entry] = field(default_factory=list)
    sent: deque[tuple[str, Message]] = field(default_factory=deque)


class Driver:
    """Runs commands; `lines` is what there is to tell."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._actors: dict[str, Actor] = {}
        self._cut: dict[tuple[str, str], None] = {}
        self._settings = SETTINGS
        self._commands: dict[str, Callable[..., None]] = {
            "start_node": self._start_node,
            "pre_vote_enabled": self._set_pre_vote,
            "create_new_node": self._create_new_node,
            "trust_node": self._trust_nodes,
            "trust_nodes": self._trust_nodes,
            "swap_nodes": self._swap_nodes,
            "cleanup_nodes": self._cleanup_nodes,
            "replicate": self._replicate,
            "emit_signature": self._emit_signature,
            "periodic_one": self._periodic_one,
            "periodic_all": self._periodic_all,
            "dispatch_one": self._dispatch_one,
            "dispatch_all": self._dispatch_all,
            "dispatch_all_once": self._dispatch_all_once,
            "dispatch_single": self._dispatch_single,
            "drop_pending": self._drop_pending,
            "drop_pending_to": self._drop_pending_to,
            "disconnect": self._disconnect,
            "reconnect": self._reconnect,
            "disconnect_node": self._disconnect_node,
            "reconnect_node": self._reconnect_node,
            "state_all": self._state_all,
            "state_one": self._state_one,
            "assert_commit_idx": self._assert_commit_idx,
            "assert_detail": self._assert_detail,
            "assert_!detail": self._assert_not_detail,
            "assert_state_sync": self._assert_state_sync,
        }

    def run(self, text: str) -> str:
        """Play every line and return the whole output. Raises `ScenarioFailed`."""
        for number, line in enumerate(text.splitlines(), 1):
            command = line.partition("#")[0].strip()
            if not command:
                if line.strip():
                    self.lines.append(line.rstrip())
                continue
            self.lines.append(f"> {command}")
            name, *arguments = command.split(",")
            try:
                self._commands[name](*arguments)
            except (KeyError, TypeError, ScenarioFailed) as error:
                raise ScenarioFailed(f"line {number}, {command}: {error!r}") from error
        return "\n".join(self.lines) + "\n"

    # Nodes and entries

    def _start_node(self, name: str) -> None:
        actor = self._enter(name, Raft.start)
        self._propose(actor, b"genesis", configuration=((name, f"{name}:1"),))
        self._propose(actor, b"signature", signed=True)

    def _set_pre_vote(self, value: str) -> None:
        if value not in ("true", "false"):
            raise ScenarioFailed(f"{value!r} is neither true nor false")
        self._settings = replace(SETTINGS, pre_vote=value == "true")

    def _create_new_node(self, name: str) -> None:
        self._enter(name, Raft.join)

    def _enter(self, name: str, begin: Callable[..., Raft]) -> Actor:
        ledger: list[Entry] = []
        raft = begin(
            node_id=name,
            settings=self._settings,
            draw=lambda low, high: high,
            read=lambda first, last: ledger[first - 1 : last],
        )
        actor = self._actors[name] = Actor(raft, ledger)
        self._carry_out(name)
        return actor

    def _trust_nodes(self, term: str, *names: str) -> None:
        self._swap_nodes(term, "in", *names)

    def _swap_nodes(self, term: str, *arguments: str) -> None:
        leader = self._leader(term)
        leaving, joining = _split_swap(arguments)
        for name in joining:
            if name not in self._actors:
                self._create_new_node(name)
        kept = [name for name in leader.raft.configurations[-1].ids if name not in leaving]
        nodes = tuple(sorted((name, f"{name}:1") for name in [*kept, *joining]))
        self._propose(leader, b"nodes", configuration=nodes)

    def _cleanup_nodes(self, term: str, *names: str) -> None:
        self._propose(self._leader(term), b"cleanup", retired_committed=names)

    def _replicate(self, term: str, text: str) -> None:
        self._propose(self._leader(term), text.encode())

    def _emit_signature(self, term: str) -> None:
        self._propose(self._leader(term), b"signature", signed=True)

    def _leader(self, term: str) -> Actor:
        for actor in self._actors.values():
            if actor.raft.role is Leadership.LEADER and actor.raft.view == int(term):
                return actor
        raise ScenarioFailed(f"nobody leads term {term}")

    def _propose(
        self,
        actor: Actor,
        data: bytes,
        *,
        signed: bool = False,
        configuration: Nodes | None = None,
        retired_committed: tuple[str, ...] = (),
    ) -> None:
        raft = actor.raft
        entry = Entry(raft.view, raft.last_seqno + 1, data, signed, configuration, retired_committed)
        actor.ledger.append(entry)
        raft.propose(entry)
        self.lines.append(f"  {raft.node_id} proposes {_entry(entry)}")
        self._carry_out(raft.node_id)

    # Time and messages

    def _periodic_one(self, name: str, elapsed_ms: str) -> None:
        self._actors[name].raft.tick(int(elapsed_ms))
        self._carry_out(name)

    def _periodic_all(self, elapsed_ms: str) -> None:
        for name in self._actors:
            self._periodic_one(name, elapsed_ms)

    def _dispatch_one(self, name: str) -> None:
        for _ in range(len(self._actors[name].sent)):
            self._deliver_oldest(name)

    def _dispatch_all_once(self) -> None:
        counts = {name: len(actor.sent) for name, actor in self._actors.items()}
        for name, count in counts.items():
            for _ in range(count):
                self._deliver_oldest(name)

    def _dispatch_all(self) -> None:
        for _ in range(200):
            if not any(actor.sent for actor in self._actors.values()):
                return
            self._dispatch_all_once()
        raise ScenarioFailed("the nodes never fall silent")

    def _dispatch_single(self, sender: str, receiver: str) -> None:
        sent = self._actors[sender].sent
        position = next(index for index, (target, _) in enumerate(sent) if target == receiver)
        sent.rotate(-position)
        item = sent.popleft()
        sent.rotate(position)
        self._deliver(sender, *item)

    def _drop_pending(self, name: str) -> None:
        self._actors[name].sent.clear()

    def _drop_pending_to(self, sender: str, receiver: str) -> None:
        actor = self._actors[sender]
        actor.sent = deque(item for item in actor.sent if item[0] != receiver)

    def _disconnect(self, one: str, other: str) -> None:
        self._cut.update({(one, other): None, (other, one): None})

    def _reconnect(self, one: str, other: str) -> None:
        self._cut.pop((one, other), None)
        self._cut.pop((other, one), None)

    def _disconnect_node(self, name: str) -> None:
        for other in self._actors:
            self._disconnect(name, other)

    def _reconnect_node(self, name: str) -> None:
        for other in self._actors:
            self._reconnect(name, other)

    def _deliver_oldest(self, sender: str) -> None:
        if self._actors[sender].sent:
            self._deliver(sender, *self._actors[sender].sent.popleft())

    def _deliver(self, sender: str, receiver: str, message: Message) -> None:
        self.lines.append(f"  {sender} -> {receiver} {_message(message)}")
        self._actors[receiver].raft.receive(sender, message)
        self._carry_out(receiver)

    def _carry_out(self, name: str) -> None:
        """Do what the node asks for, as often as doing it makes it ask for more."""
        actor = self._actors[name]
        while True:
            output = actor.raft.take_output()
            if output.truncate_after is not None:
                self.lines.append(f"  {name} truncates after {output.truncate_after}")
                del actor.ledger[output.truncate_after :]
            actor.ledger.extend(output.append)
            if output.commit is not None:
                self.lines.append(f"  {name} commits {output.commit}")
            self.lines.extend(f"  {name} {_change(change)}" for change in output.became)
            actor.sent.extend(item for item in output.send if (name, item[0]) not in self._cut)
            if not output.sync:
                return
            actor.raft.persisted(len(actor.ledger))

    # What is seen

    def _state_all(self) -> None:
        for name in self._actors:
            self._state_one(name)

    def _state_one(self, name: str) -> None:
        raft = self._actors[name].raft
        phase = f", {raft.retirement_phase}" if raft.retirement_phase else ""
        configurations = " ".join(f"{c.seqno}:{'+'.join(c.ids)}" for c in raft.configurations)
        self.lines.append(
            f"  {name} {raft.role} term {raft.view}, last {raft.last_txid}, signed {raft.committable_seqno}, "
            f"commit {raft.commit_seqno}, nodes {configurations or 'none'}{phase}"
        )

    def _assert_commit_idx(self, name: str, seqno: str) -> None:
        commit_seqno = self._actors[name].raft.commit_seqno
        if commit_seqno != int(seqno):
            raise ScenarioFailed(f"the commit of {name} is {commit_seqno}")

    def _assert_detail(self, name: str, key: str, value: str) -> None:
        actual = details(self._actors[name].raft).get(key)
        if str(actual) != value:
            raise ScenarioFailed(f"{key} of {name} is {actual}")

    def _assert_not_detail(self, name: str, key: str, value: str) -> None:
        if str(details(self._actors[name].raft).get(key)) == value:
            raise ScenarioFailed(f"{key} of {name} is {value}")

    def _assert_state_sync(self) -> None:
        states = {
            name: (actor.raft.last_txid, actor.raft.commit_seqno)
            for name, actor in self._actors.items()
            if not any(name in link for link in self._cut)
        }
        if len(set(states.values())) > 1:
            raise ScenarioFailed(f"not in sync: {states}")


def _split_swap(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """`in,A,B,out,C` in either order -> (leaving, joining)."""
    sides: dict[str, list[str]] = {"in": [], "out": []}
    side = ""
    for argument in arguments:
        if argument in sides:
            side = argument
        else:
            sides[side].append(argument)
    return sides["out"], sides["in"]


def _entry(entry: Entry) -> str:
    what = entry.data.decode()
    if entry.configuration is not None:
        what += " " + "+".join(name for name, _ in entry.configuration)
    if entry.retired_committed:
        what += " " + "+".join(entry.retired_committed)
    return f"{entry.view}.{entry.seqno} ({what})"


def _message(message: Message) -> str:
    match message:
        case AppendEntries(view, prev, commit_seqno, _, entries):
            last = f" up to {entries[-1].view}.{entries[-1].seqno}" if entries else ""
            return f"append_entries term {view} after {prev}{last}, commit {commit_seqno}"
        case AppendEntriesAck(view, received_seqno, persisted_seqno):
            return f"ack term {view}, received {received_seqno}, persisted {persisted_seqno}"
        case AppendEntriesNack(view, _, estimate):
            return f"nack term {view}, perhaps {estimate}"
        case RequestVote(view, committable):
            return f"request_vote term {view}, signed {committable}"
        case RequestVoteResponse(view, granted):
            return f"vote term {view}, {'granted' if granted else 'refused'}"
        case RequestPreVote(view, committable):
            return f"request_pre_vote term {view}, signed {committable}"
        case RequestPreVoteResponse(view, granted):
            return f"pre_vote term {view}, {'granted' if granted else 'refused'}"
        case ProposeRequestVote(view):
            return f"propose_request_vote term {view}"


def _change(change: Became) -> str:
    match change:
        case RoleChanged(role, view, leader_id):
            return f"is {role} in term {view}" + (f" of {leader_id}" if role is Leadership.FOLLOWER else "")
        case SignatureDue():
            return "should sign"
        case RetirementChanged(node_id, phase):
            return f"sees the retirement of {node_id}: {phase}"


def main(arguments: Sequence[str]) -> int:
    paths = [Path(argument) for argument in arguments if not argument.startswith("--")]
    if not paths:
        print("usage: python -m tests.scenarios.driver FILE... [--rewrite]", file=sys.stderr)
        return 2
    for path in paths:
        output = Driver().run(path.read_text())
        print(output, end="")
        if "--rewrite" in arguments:
            path.with_suffix(".expected").write_text(output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
