"""The answer of an interface that redirects: 307 with the whole target, or why there is none (node-api.md 1.4)."""

from collections.abc import Callable

from dataplane.apps.endpoint import Redirection, Response
from dataplane.errors import RpcError
from dataplane.governance.nodes import NodeStatus, nodes_with_status
from dataplane.kv.tx import Tx
from dataplane.redirections import NodeByRole, Redirections, Resolver, Role
from dataplane.txid import NodeId


def redirect(
    strategy: Redirection,
    ways: Redirections,
    tx: Tx,
    *,
    is_primary: bool,
    primary_id: NodeId | None,
    interface: str,
    url: str,
    draw: Callable[[int], int],
) -> Response | None:
    """Where the request for `url` (as received, query included) must go; None when it runs here.

    `draw(n)` chooses among n nodes. Raises 503 `PrimaryNotFound` or `BackupNotFound`.
    """
    if strategy is Redirection.TO_PRIMARY and not is_primary:
        missing, resolver = (
            RpcError(503, "PrimaryNotFound", "The address of the primary is not known."),
            ways.to_primary,
        )
    elif strategy is Redirection.TO_BACKUP and is_primary:
        missing, resolver = RpcError(503, "BackupNotFound", "The address of no backup is known."), ways.to_backup
    else:
        return None
    address = _resolve(resolver, tx, primary_id, interface, draw)
    if address is None:
        raise missing
    return Response(307, headers={"location": f"https://{address}{url}"})


def _resolve(
    resolver: Resolver, tx: Tx, primary_id: NodeId | None, interface: str, draw: Callable[[int], int]
) -> str | None:
    if not isinstance(resolver, NodeByRole):
        return resolver.address
    primary = resolver.role is Role.PRIMARY
    trusted = nodes_with_status(tx, NodeStatus.TRUSTED)
    candidates = [record for node_id, record in trusted.items() if (node_id == primary_id) is primary]
    if not candidates:
        return None
    chosen = candidates[draw(len(candidates))]["rpc_interfaces"].get(resolver.interface or interface)
    return None if chosen is None else str(chosen["published_address"])
