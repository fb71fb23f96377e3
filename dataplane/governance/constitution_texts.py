"""The constitutions offered here, by the names of CCF's samples (node-api.md 4.4, 4.5).

Texts below `constitutions/`. All share the actions; they differ in who decides. A node's configuration may list the
same files, with `actions.js` before files that add actions and otherwise in any order.
"""

from collections.abc import Mapping
from importlib.resources import files

_ACTIONS = ("default/actions.js", "virtual/virtual_attestation_actions.js")
_EVERY_DAY = ("default/validate.js", "default/apply.js")

PARTS: Mapping[str, tuple[str, ...]] = {
    "default": (*_ACTIONS, *_EVERY_DAY, "default/resolve.js"),
    "managed": (*_ACTIONS, "managed/validate.js", "managed/resolve.js", "managed/apply.js"),
    "operator": (*_ACTIONS, *_EVERY_DAY, "operator/resolve.js"),
    "operator_provisioner": (*_ACTIONS, *_EVERY_DAY, "operator_provisioner/resolve.js"),
    "roles": (*_ACTIONS, "roles/set_role_definition.js", *_EVERY_DAY, "default/resolve.js"),
    "sandbox": (*_ACTIONS, *_EVERY_DAY, "sandbox/resolve.js"),
    "veto": (*_ACTIONS, *_EVERY_DAY, "veto/resolve.js"),
}
"""Files of each constitution below `constitutions/`, for services of simulated nodes."""


def constitution_text(name: str) -> str:
    """The whole script of a constitution; raises `KeyError` for a name that is not in `PARTS`."""
    return "\n".join(part_text(part) for part in PARTS[name])


def part_text(part: str) -> str:
    """One file, by its path below `constitutions/`."""
    return (files(__package__) / "constitutions" / part).read_text("utf-8")
