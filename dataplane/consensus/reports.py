"""What an owner has been told of role and retirements, and what it has yet to be told."""

from __future__ import annotations

from dataplane.consensus.configuration import Configurations, RetirementPhase
from dataplane.consensus.log import Log
from dataplane.consensus.output import Became, RetirementChanged, RoleChanged
from dataplane.txid import NodeId


class Reports:
    """What is new since the last report, which begins with what `role`, `log` and `configurations` are now."""

    def __init__(self, role: RoleChanged, log: Log, configurations: Configurations) -> None:
        self._role = role
        self._log = log
        self._configurations = configurations
        self._phases = self._retirements()
        self._retired_count = configurations.retired_count

    def role(self, now: RoleChanged) -> list[Became]:
        """The change of role, view or known leader, if there is one."""
        if now == self._role:
            return []
        self._role = now
        return [now]

    def retirements(self) -> list[Became]:
        """Retirements that went on, were rolled back, or became final."""
        configurations = self._configurations
        if not (configurations.retiring_count or self._phases) and configurations.retired_count == self._retired_count:
            return []
        phases = self._retirements()
        retired = configurations.retired
        changes: list[Became] = [
            RetirementChanged(node_id, phase)
            for node_id, phase in phases.items()
            if self._phases.get(node_id) is not phase
        ]
        changes += [
            RetirementChanged(node_id, None)
            for node_id in self._phases
            if node_id not in phases and node_id not in retired
        ]
        final = retired[self._retired_count :]
        changes += [RetirementChanged(node_id, RetirementPhase.RETIRED_COMMITTED) for node_id in final]
        self._phases = phases
        self._retired_count = len(retired)
        return changes

    def _retirements(self) -> dict[NodeId, RetirementPhase]:
        return self._configurations.retirements(self._log.committable_seqno, self._log.commit_seqno)
