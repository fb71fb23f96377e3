"""Known consensus bugs as patches of the core's own source.

The six are those of "Smart Casual Verification of the Confidential Consortium Framework" (Howard, Kuppe, Ashton,
Chamayou, Crooks, NSDI 2025, table 2), told again in the terms of this core. A patch names text that must occur
exactly once in the module, so that a change of the core which passes a mutant by is noticed.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import ModuleType

from dataplane.consensus import configuration, followers, raft
from dataplane.consensus.raft import Raft


@dataclass(frozen=True, slots=True)
class Patch:
    module: ModuleType
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """`seed`: a run that catches it, found by `tests.mutants.find`; `symptom`: a pattern of what the checker says."""

    name: str
    patches: tuple[Patch, ...]
    seed: int
    symptom: str


MUTANTS = (
    # A vote was counted in every configuration, also where the voter is no member: two leaders in a view.
    Mutant(
        "election quorum tally",
        (
            Patch(
                configuration,
                "    return 2 * sum(node in agreeing for node in nodes) > len(nodes)\n",
                "    return 2 * len(agreeing) > len(nodes)\n",
            ),
        ),
        seed=104,
        symptom=r"both lead view \d+",
    ),
    # A leader committed a signature of an earlier view as soon as a quorum had it (Raft, figure 8).
    Mutant(
        "commit of a previous view",
        (
            Patch(
                raft,
                "        if seqno <= self._log.commit_seqno or self._log.view_at(seqno) != self._view:\n",
                "        if seqno <= self._log.commit_seqno:\n",
            ),
        ),
        seed=2,
        symptom=r"committed \d+ before its leader",
    ),
    # The estimate in a refusal was stored where acknowledged entries are counted.
    Mutant(
        "commit on AE-NACK",
        (
            Patch(
                followers,
                "        peer.refused(message.round, match_seqno)\n",
                "        peer.refused(message.round, match_seqno)\n        peer.persisted_seqno = match_seqno\n",
            ),
        ),
        seed=2,
        symptom=r"committed \d+ synced by",
    ),
    # A follower cut its log at the start of an AppendEntries before looking for a conflict.
    Mutant(
        "truncation from an early AppendEntries",
        (
            Patch(
                raft,
                "        self._merge(message.entries)\n",
                "        self._rollback(max(message.prev.seqno, self._known_commit))\n"
                "        self._merge(message.entries)\n",
            ),
        ),
        seed=2,
        symptom=r"committed \d+ synced by",
    ),
    # A follower acknowledged all its log, not only what the leader's message has confirmed.
    Mutant(
        "inaccurate AE-ACK",
        (
            Patch(
                raft,
                "        self._verified_seqno = max(self._verified_seqno, message.prev.seqno + len(message.entries))\n",
                "        self._verified_seqno = self._log.last_seqno\n",
            ),
        ),
        seed=4,
        symptom=r"committed another entry at \d+",
    ),
    # A node stopped when it learnt that its removal is committed, though others did not know and needed its vote.
    Mutant(
        "premature node retirement",
        (
            Patch(
                raft,
                "        if sender == self.node_id or self._configurations.is_retired(self.node_id):\n",
                "        if sender == self.node_id or self.retirement_phase is RetirementPhase.COMPLETED:\n",
            ),
            Patch(configuration, "        return leaving | self.voters()\n", "        return self.voters()\n"),
        ),
        seed=43,
        symptom="no recovery after the faults ended",
    ),
)


def build(mutant: Mutant) -> type[Raft]:
    """The Raft class of the core with the mutant's patches."""
    sources = {module: inspect.getsource(module) for module in (configuration, followers, raft)}
    for patch in mutant.patches:
        assert sources[patch.module].count(patch.old) == 1, f"{mutant.name}: the core no longer has\n{patch.old}"
        sources[patch.module] = sources[patch.module].replace(patch.old, patch.new)
    mutated = {module: _load(module, source) for module, source in sources.items()}
    core = mutated[raft]
    # The mutated core builds the mutated parts; plain values stay the core's own types.
    core.__dict__["Configurations"] = mutated[configuration].__dict__["Configurations"]
    core.__dict__["Followers"] = mutated[followers].__dict__["Followers"]
    mutated[configuration].__dict__["RetirementPhase"] = configuration.RetirementPhase
    result: type[Raft] = core.__dict__["Raft"]
    return result


def _load(module: ModuleType, source: str) -> ModuleType:
    mutated = ModuleType(module.__name__)
    exec(compile(source, f"<mutant of {module.__name__}>", "exec"), mutated.__dict__)
    return mutated
