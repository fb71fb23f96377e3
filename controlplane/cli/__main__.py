"""`mccf`: the command line (decisions 20). Commands are named in a table and imported when they run."""

import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from knack import CLI
from knack.arguments import ArgumentsContext
from knack.commands import CLICommandsLoader, CommandGroup
from knack.help_files import helps

from controlplane.cli.tables import ledger_verification

# Name of a command -> where it lives. Only the command that runs is imported.
COMMANDS = {
    "up": "controlplane.cli.local#up",
    "down": "controlplane.cli.local#down",
    "status": "controlplane.cli.status#status",
    "ledger verify": "controlplane.cli.ledger#verify",
}
TABLES: dict[str, Callable[[Any], Any]] = {"ledger verify": ledger_verification}

helps["up"] = """
type: command
short-summary: Start the control plane on this machine (broker, API, worker and gateway).
long-summary: >
    Waits until all of it serves. On the first start it makes a private CA and a first principal, whose secret is
    left in a 0600 file. Nodes of instances that still run are found again.
"""
helps["down"] = """
type: command
short-summary: Stop the control plane. Nodes go on running unless --nodes is given.
long-summary: >
    A node that is stopped never comes back under its identity, so stopping all nodes of an instance gives that
    instance up.
"""
helps["status"] = """
type: command
short-summary: Show the parts of the control plane and every instance with its true state.
long-summary: Ends non-zero when a part, an instance or a node is down.
"""
helps["ledger"] = """
type: group
short-summary: Look at a service's ledger where its files lie. No control plane is asked.
"""
helps["ledger verify"] = """
type: command
short-summary: Check every entry, signature, tree, identity and snapshot of a ledger; name each place that is wrong.
long-summary: >
    Ends with 0 when all of it is verified, 3 when something is corrupt (file, byte, seqno and reason are told), 4 when
    nothing is wrong but not everything is proven (entries after the last signature, an entry never written whole, or
    entries before the snapshot the ledger begins with), 1 when a file cannot be read.
examples:
    - name: The ledger and snapshots of a node, against the service's certificate
      text: mccf ledger verify --directory ledger --snapshots snapshots --service-certificate service_cert.pem
"""


class Commands(CLICommandsLoader):  # type: ignore[misc]  # knack has no types
    """The command table."""

    def load_command_table(self, args: list[str]) -> "OrderedDict[str, Any]":
        for name, place in COMMANDS.items():
            group, _, verb = name.rpartition(" ")
            module, _, function = place.partition("#")
            with CommandGroup(self, group, f"{module}#{{}}") as commands:
                commands.command(verb, function, table_transformer=TABLES.get(name))
        table: OrderedDict[str, Any] = super().load_command_table(args)
        return table

    def create_command(self, name: str, operation: str, **kwargs: Any) -> Any:
        """knack would import every command's module for its docstring; our texts are in `helps`."""
        command = super().create_command(name, operation, **kwargs)
        command.description = None
        return command

    def load_arguments(self, command: str) -> None:
        with ArgumentsContext(self, "") as arguments:
            arguments.argument("data_dir", options_list=["--data-dir"], help="Data directory; default $MCCF_DATA_DIR.")
        with ArgumentsContext(self, "up") as arguments:
            arguments.argument("timeout", type=int, help="Give up waiting after this many seconds.")
        with ArgumentsContext(self, "down") as arguments:
            arguments.argument("nodes", action="store_true", help="Stop the nodes of all instances too.")
        with ArgumentsContext(self, "ledger verify") as arguments:
            arguments.argument("directory", nargs="+", help="Ledger directories; the first one's files count.")
            arguments.argument("snapshots", nargs="+", help="Directories of snapshots, to check and to begin from.")
            arguments.argument("service_certificate", help="PEM file: the identity the service has in the end.")
            arguments.argument("ledger_secrets", help='JSON file {"<seqno>": "<base64>"}: check private tables too.')
            arguments.argument("committed_only", action="store_true", help="Leave out files that are not committed.")
            arguments.argument("recovery", action="store_true", help="Include the files of an unfinished recovery.")
        super().load_arguments(command)


def main() -> int:
    """Run one command; its exit code."""
    cli = CLI(cli_name="mccf", config_dir=None, config_env_var_prefix="MCCF_CLI", commands_loader_cls=Commands)
    failed = int(cli.invoke(sys.argv[1:]) or 0)
    result = getattr(cli.result, "raw_result", None)
    return failed or (int(result.get("exitCode", 0)) if isinstance(result, dict) else 0)


if __name__ == "__main__":
    sys.exit(main())
