"""One node process from command line to exit code (drop-in.md 3.1, node-api.md 6.1)."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Sequence
from typing import Any

import uvloop

from dataplane.config import Config, ConfigError
from dataplane.governance.members import InvalidMember
from dataplane.governance.shares import SharesNotPossible
from dataplane.host.command_line import VERSION, Arguments, parse_arguments, read_config, version_text
from dataplane.host.files import PidFileExists, claim_pid_file, write_whole
from dataplane.host.log import configure, flush
from dataplane.http.descriptors import raise_descriptor_limit
from dataplane.node.join import JoinFailed
from dataplane.node.start import StartFailed, start_node

_LOG_FLUSH_S = 0.02

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
    try:
        return uvloop.run(_serve(config))
    finally:
        with contextlib.suppress(OSError):
            os.unlink(config.output_files.pid_file)


async def _serve(config: Config) -> int:
    stopping: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def fail(reason: str) -> None:
        _log.critical("%s", reason)
        if not stopping.done():
            stopping.set_result(reason)

    starting = asyncio.ensure_future(start_node(config, VERSION, write_whole, fail))
    notice = _on_signals(stopping, config.ignore_first_sigterm)
    _flush_log_often(asyncio.get_running_loop())
    both: set[asyncio.Future[Any]] = {starting, stopping}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        return 0
    try:
        running = starting.result()
    except (StartFailed, JoinFailed, InvalidMember, SharesNotPossible, ValueError) as error:
        _log.critical("%s", error)
        return 1
    notice.append(lambda: setattr(running.node, "stop_notice", True))
    reason = await stopping
    await running.close()
    return 0 if reason is None else 1


def _flush_log_often(loop: asyncio.AbstractEventLoop) -> None:
    flush()
    loop.call_later(_LOG_FLUSH_S, _flush_log_often, loop)


def _on_signals(stopping: "asyncio.Future[str | None]", ignore_first_sigterm: bool) -> list[object]:
    """Stop on SIGTERM, SIGHUP and SIGINT; the first SIGTERM may only be a notice."""
    loop = asyncio.get_running_loop()
    on_notice: list[object] = []
    ignored = [ignore_first_sigterm]

    def stop(name: str) -> None:
        if name == "SIGTERM" and ignored[0]:
            ignored[0] = False
            for give_notice in on_notice:
                assert callable(give_notice)
                give_notice()
            return
        _log.info("%s: stopping", "Hangup" if name == "SIGHUP" else name)
        if not stopping.done():
            stopping.set_result(None)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    return on_notice
