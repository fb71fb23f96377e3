"""One node process from command line to exit code (drop-in.md 3.1, node-api.md 6.1)."""

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import Any

import uvloop

from dataplane.config import Config, ConfigError
from dataplane.governance.members import InvalidMember
from dataplane.governance.shares import SharesNotPossible
from dataplane.host.command_line import VERSION, Arguments, parse_arguments, read_config, version_text
from dataplane.host.files import PidFileExists, claim_pid_file, write_whole
from dataplane.host.garbage import collect_in_steps
from dataplane.host.log import configure, flush, line_writer
from dataplane.host.signals import StopSignals
from dataplane.http.descriptors import raise_descriptor_limit
from dataplane.node.join import JoinFailed
from dataplane.node.start import RunningNode, start_node
from dataplane.node.startup_files import StartFailed
from dataplane.node.startup_snapshot import SnapshotUnusable

_LOG_FLUSH_S = 0.02
_CLEAN_STOP_S = 6.0
_FORCED_STOP_S = 2.0

_log = logging.getLogger("host")


def main(argv: Sequence[str]) -> int:
    """Run a node until it is told to stop; 0 after a clean stop."""
    arguments = parse_arguments(argv)
    if arguments.version:
        print(version_text())
        return 0
    configure(arguments.log_level, "Text")
    try:
        config = read_config(arguments.config, arguments.config_timeout_ms)
    except ConfigError as error:
        _log.critical("%s", error)
        return 1
    if arguments.check:
        return 0
    return _run(config, arguments)


def _run(config: Config, arguments: Arguments) -> int:
    configure(arguments.log_level, config.log_format)
    raise_descriptor_limit()
    try:
        claim_pid_file(config.output_files.pid_file)
    except PidFileExists as error:
        _log.critical("PID file %s already exists. Exiting.", error)
        return 1
    _log.info("%s", version_text().replace("\n", ", "))
    return uvloop.run(_serve(config))


async def _serve(config: Config) -> int:
    signals = StopSignals(ignore_first_sigterm=config.ignore_first_sigterm)
    starting = asyncio.ensure_future(
        start_node(
            config,
            VERSION,
            write_whole,
            signals.fail,
            lambda node: signals.tell_notice(node.give_stop_notice),
            line_writer("js", __file__),
        )
    )
    _flush_log_often(asyncio.get_running_loop())
    collect_in_steps(asyncio.get_running_loop())
    both: set[asyncio.Future[Any]] = {starting, signals.stopping}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        return 0
    try:
        running = starting.result()
    except (StartFailed, JoinFailed, SnapshotUnusable, InvalidMember, SharesNotPossible, ValueError) as error:
        _log.critical("%s", error)
        return 1
    reason = await signals.stopping
    whole = await _close(running, signals.forced)
    return 0 if whole and reason is None else 1


async def _close(running: RunningNode, forced: "asyncio.Future[None]") -> bool:
    """Stop cleanly, at once when forced, and without the ledger if its disk does not let go even then.

    Launchers wait ten seconds. Leaving without the flush loses nothing that a client was told is committed, as that
    was synced before. Whether the ledger is whole.
    """
    closing = asyncio.ensure_future(running.close())
    waiting: set[asyncio.Future[Any]] = {closing, forced}
    await asyncio.wait(waiting, timeout=_CLEAN_STOP_S, return_when=asyncio.FIRST_COMPLETED)
    if not closing.done():
        running.abort()
        await asyncio.wait({closing}, timeout=_FORCED_STOP_S)
    if closing.done():
        return _closed_whole(running, closing)
    _log.critical("The ledger could not be closed in time; leaving without")
    flush()
    os._exit(1)


def _closed_whole(running: RunningNode, closing: "asyncio.Future[None]") -> bool:
    error, refusal = closing.exception(), running.node.write_refusal
    if isinstance(error, OSError):
        _log.critical("The ledger could not be closed: %s", error)
    elif error is not None:
        raise error
    elif refusal is not None:
        _log.critical("%s", refusal)
    return error is None and refusal is None


def _flush_log_often(loop: asyncio.AbstractEventLoop) -> None:
    flush()
    loop.call_later(_LOG_FLUSH_S, _flush_log_often, loop)
