"""What an operator does to a CCF service: look, acknowledge itself, admit, retire and forget nodes, open, chunk.

Everything goes over HTTPS and signed governance, as any operator would do it (decisions 5). A governance write counts
as done when its transaction is committed: what is reported done cannot be undone by a change of primary.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from controlplane.ccf_operator.identity import OperatorIdentity
from controlplane.ccf_operator.sample_app import sample_bundle
from controlplane.ccf_operator.service import ActionRefused, AwaitingVotes, ServiceUnavailable, ServiceView
from controlplane.reconcile.model import NodeRecord, NodeStatus, ObservedService, ServiceStatus
from dataplane.client.bundle import set_js_app
from dataplane.client.session import Response, ServiceError, Session, SessionError, Unreachable
from dataplane.client.signing import API_VERSION, COSE_HEADERS, Member, Signer, file_signer, sign_governance

REQUEST_TIMEOUT_S = 2.0
COMMIT_TIMEOUT_S = 5.0
NODE_VALIDITY_DAYS = 365

Action = Mapping[str, Any]
T = TypeVar("T")


class ServiceOperator:
    """Implements `Operator` over the nodes' public interfaces. Belongs to one thread."""

    def __init__(
        self,
        identity: OperatorIdentity,
        certificate: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.certificate = certificate
        self._signer: Signer = file_signer(identity.certificate_file, identity.key_file)
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._addresses: list[str] = []
        """Where nodes answered at the last look; the primary's first."""
        self._active = False

    def look(self, addresses: Mapping[str, str]) -> ServiceView | None:
        asked = {name: self._node_id(address) for name, address in sorted(addresses.items())}
        answering = {name: node_id for name, node_id in asked.items() if node_id is not None}
        self._addresses = [addresses[name] for name in answering]
        for name in answering:
            try:
                return self._describe(name, answering, addresses)
            except (SessionError, ServiceUnavailable, KeyError, ValueError):
                continue  # a node that is going down: another may know as much
        return None

    def activate(self) -> None:
        self._attempt(Member(self._session(), self._signer).activate)

    def admit(self, node_id: str, retire: Sequence[str]) -> None:
        # The day, not the second: a repeated proposal must be recognisable as the same.
        valid_from = self._clock().strftime("%Y%m%d000000Z")
        trust = {"node_id": node_id, "valid_from": valid_from, "validity_period_days": NODE_VALIDITY_DAYS}
        actions = [{"name": "transition_node_to_trusted", "args": trust}]
        self._propose([*actions, *({"name": "remove_node", "args": {"node_id": old}} for old in retire)])

    def retire(self, node_id: str) -> None:
        self._propose([{"name": "remove_node", "args": {"node_id": node_id}}])

    def forget(self, node_id: str) -> None:
        response = self._attempt(lambda: self._session().request("DELETE", f"/node/network/nodes/{node_id}"))
        if response.status == 404:
            return
        self._settle(response, not_yet="NodeNotRetiredCommitted")

    def install_sample_app(self) -> None:
        self._propose([set_js_app(sample_bundle())])

    def open_service(self) -> None:
        network = self._attempt(lambda: self._session().get_json("/node/network"))
        args = {"next_service_identity": network["service_certificate"]}
        self._propose([{"name": "transition_service_to_open", "args": args}])

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _node_id(self, address: str) -> str | None:
        """The node's id if it answers as a part of the network."""
        try:
            state = self._session(address).get_json("/node/state")
        except (SessionError, ValueError):
            self._drop(address)
            return None
        return str(state["node_id"]) if state.get("state") == "PartOfNetwork" else None

    def _describe(self, name: str, answering: Mapping[str, str], addresses: Mapping[str, str]) -> ServiceView:
        """What the node called `name` knows, or rather the primary if that answers: backups may lag behind."""
        session = self._session(addresses[name])
        network = session.get_json("/node/network")
        primary = next((n for n, node_id in answering.items() if node_id == network["primary_id"]), None)
        if primary is not None:
            self._addresses.sort(key=lambda address: address != addresses[primary])
            session = self._session(addresses[primary])
            network = session.get_json("/node/network")
        status = ServiceStatus(network["service_status"])
        ready = session.request("GET", "/node/ready/gov").status == 204
        customers, threshold = self._members(session, status) if ready else ([], 0)
        can_open = may_open(customers, threshold)
        opening = status is ServiceStatus.OPENING
        waiting = tuple(m["memberId"] for m in customers if m["status"] != "Active") if opening and not can_open else ()
        service = ObservedService(
            status,
            self._records(session),
            ready,
            self._active,
            can_open=opening and can_open,
            has_app=not (ready and opening) or _has_app(session),
            waiting_for=waiting,
        )
        return ServiceView(service, str(network["service_certificate"]), frozenset(answering))

    def _records(self, session: Session) -> tuple[NodeRecord, ...]:
        nodes = session.get_json("/node/network/nodes")["nodes"]
        removable: set[str] = set()
        if any(node["status"] == NodeStatus.RETIRED for node in nodes):
            removable = {n["node_id"] for n in session.get_json("/node/network/removable_nodes")["nodes"]}
        return tuple(
            NodeRecord(n["node_id"], NodeStatus(n["status"]), n["node_id"] in removable, bool(n["primary"]))
            for n in nodes
        )

    def _members(self, session: Session, status: ServiceStatus) -> tuple[list[Mapping[str, Any]], int]:
        """The customer's members and the recovery threshold, while anything depends on them."""
        if self._active and status is not ServiceStatus.OPENING:
            return [], 0
        members = session.get_json(f"/gov/service/members?api-version={API_VERSION}")["value"]
        self._active = any(m["memberId"] == self._signer.id and m["status"] == "Active" for m in members)
        customers = [m for m in members if not (m["memberData"] or {}).get("is_operator")]
        return customers, int(session.get_json("/node/service/configuration")["recovery_threshold"])

    def _propose(self, actions: Sequence[Action]) -> None:
        self._refuse_second(actions)
        body = json.dumps({"actions": list(actions)}).encode()
        signed = sign_governance(self._signer, "proposal", body, created_at_s=int(self._clock().timestamp()))
        path = f"/gov/members/proposals:create?api-version={API_VERSION}"
        session = self._session()
        response = self._attempt(lambda: session.request("POST", path, body=signed, headers=COSE_HEADERS))
        self._settle(response)
        proposal = response.json()
        if proposal["proposalState"] != "Accepted":
            raise AwaitingVotes(str(proposal["proposalId"]))

    def _refuse_second(self, actions: Sequence[Action]) -> None:
        """Members may be voting on this already: do not ask them twice."""
        listed = self._attempt(lambda: self._session().get_json(f"/gov/members/proposals?api-version={API_VERSION}"))
        for proposal in listed["value"]:
            if proposal["proposerId"] == self._signer.id and proposal["proposalState"] == "Open":
                path = f"/gov/members/proposals/{proposal['proposalId']}/actions?api-version={API_VERSION}"
                if self._attempt(partial(self._session().get_json, path)) == {"actions": list(actions)}:
                    raise AwaitingVotes(str(proposal["proposalId"]))

    def _settle(self, response: Response, not_yet: str | None = None) -> None:
        """Sort an answer into done, not now, and no; done waits for its commit."""
        if response.status >= 400:
            raise _sorted(ServiceError.of(response), not_yet)
        txid = response.txid
        if txid is not None:
            self._attempt(lambda: self._session().wait_for_commit(txid, COMMIT_TIMEOUT_S))

    def _attempt(self, request: Callable[[], T]) -> T:
        try:
            return request()
        except ServiceError as error:
            raise _sorted(error) from error
        except Unreachable as error:
            if self._addresses:
                self._drop(self._addresses.pop(0))
            raise ServiceUnavailable(str(error)) from error
        except (SessionError, ValueError) as error:
            raise ServiceUnavailable(str(error)) from error

    def _session(self, address: str | None = None) -> Session:
        if address is None:
            if not self._addresses:
                raise ServiceUnavailable("no node answers")
            address = self._addresses[0]
        if address not in self._sessions:
            self._sessions[address] = Session(f"https://{address}", self.certificate, timeout_s=REQUEST_TIMEOUT_S)
        return self._sessions[address]

    def _drop(self, address: str) -> None:
        session = self._sessions.pop(address, None)
        if session is not None:
            session.close()


def may_open(customers: Sequence[Mapping[str, Any]], threshold: int) -> bool:
    """node-api.md 4.2: enough active participants, or with owners alone a threshold of 1; and at least one customer."""
    active = [member for member in customers if member["status"] == "Active"]
    roles = [member.get("recoveryRole") for member in active if member.get("publicEncryptionKey")]
    participants, owners = roles.count("Participant"), roles.count("Owner")
    return bool(active) and (participants >= threshold or (participants == 0 and owners > 0 and threshold == 1))


def _has_app(session: Session) -> bool:
    return bool(session.get_json(f"/gov/service/javascript-modules?api-version={API_VERSION}")["value"])


def _sorted(error: ServiceError, not_yet: str | None = None) -> ServiceUnavailable | ActionRefused:
    """Errors of the server pass, unless a constitution threw; errors of the request stay."""
    transient = error.status >= 500 and not error.message.startswith("Failed to")
    if transient or error.code == not_yet:
        return ServiceUnavailable(str(error))
    return ActionRefused(error.code, error.message)
