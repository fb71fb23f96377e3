"""The files a start reads, and what says that a node cannot start."""

import json
from pathlib import Path

from dataplane.config import MemberFiles
from dataplane.governance.members import NewMember


class StartFailed(Exception):
    """The node cannot start; the text is what an operator must see."""


def read_member(files: MemberFiles) -> NewMember:
    """A member of the new service (node-api.md 6.2 `command.start.members`). Raises `StartFailed`."""
    return NewMember(
        cert_pem=read_text(files.certificate_file),
        encryption_key_pem=None
        if files.encryption_public_key_file is None
        else read_text(files.encryption_public_key_file),
        data=read_json(files.data_json_file),
        recovery_role=files.recovery_role,
    )


def read_json(path: str | None) -> object:
    """The document in a file; None where the configuration names no file. Raises `StartFailed`, `ValueError`."""
    return None if path is None else json.loads(read_text(path))


def read_text(path: str) -> str:
    """Raises `StartFailed` for a file that cannot be read."""
    try:
        return Path(path).read_text()
    except OSError as error:
        raise StartFailed(f"cannot read {path}: {error.strerror}") from error
