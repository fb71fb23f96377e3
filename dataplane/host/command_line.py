"""The command line of a node executable (drop-in.md 3.1, node-api.md 6.1)."""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataplane.config import Config, ConfigError, parse_config, parse_time_ms
from dataplane.host.log import LEVELS

VERSION = "ccf-6.0.28-mccf-0.1.0"
PLATFORM = "Virtual"

_RETRY_S = 0.1  # the original reads the file again this often


@dataclass(frozen=True)
class Arguments:
    """What the command line asks for."""

    config: str
    config_timeout_ms: int
    check: bool
    log_level: str
    version: bool


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Read the command line; wrong use ends the process with status 2, as argparse does."""
    parser = argparse.ArgumentParser(prog="node", description="A node of a confidential consortium service.")
    parser.add_argument("-c", "--config", default="config.json", help="configuration file (JSON)")
    parser.add_argument("--config-timeout", default="0s", help="keep trying to read the configuration for this long")
    parser.add_argument("--check", action="store_true", help="check the configuration and leave")
    parser.add_argument("--log-level", default="info", type=str.lower, choices=tuple(LEVELS))
    parser.add_argument("-v", "--version", action="store_true", help="print version and platform")
    found = parser.parse_args(argv)
    return Arguments(found.config, parse_time_ms(found.config_timeout), found.check, found.log_level, found.version)


def version_text() -> str:
    """What `--version` prints."""
    return f"CCF host: {VERSION}\nPlatform: {PLATFORM}"


def read_config(path: str, timeout_ms: int) -> Config:
    """Read and check the configuration, trying again until `timeout_ms` has passed while it cannot be read as JSON.

    Raises `ConfigError`. A file that is JSON but wrong is not tried again.
    """
    deadline = time.monotonic() + timeout_ms / 1000
    while True:
        try:
            document = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            if time.monotonic() >= deadline:
                raise ConfigError("", f"cannot read the configuration {path}: {error}") from error
            time.sleep(_RETRY_S)
        else:
            return parse_config(document)
