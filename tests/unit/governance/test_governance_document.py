"""`docs/governance.md` names what there is: constitutions with their files, actions with their arguments, endpoints."""

import re
from pathlib import Path

from dataplane.api.gov import endpoints
from dataplane.governance.constitution_texts import PARTS, part_text
from dataplane.kv.store import Store
from tests.support.governance import Ops
from tests.support.scripts import Script

TEXT = (Path(__file__).parents[3] / "docs" / "governance.md").read_text()
LIST_ACTIONS = """
export function list() {
  const shape = (args) => Object.entries(args).map(([name, type]) => (type.endsWith("?") ? `[${name}]` : name));
  return [...actions].map(([name, { args }]) => `${name}(${shape(args).join(", ")})`);
}
"""


def test_constitutions() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", TEXT, re.MULTILINE)
    assert {name: tuple(re.findall(r"`([^`]+)`", listed)) for name, listed in rows} == PARTS


def test_actions() -> None:
    section = TEXT.partition("## Actions")[2].partition("## Two dialects")[0]
    documented = re.findall(r"`(\w+\([^`]*\))`", section)
    files = ("default/actions.js", "virtual/virtual_attestation_actions.js", "roles/set_role_definition.js")
    script = Script("\n".join([*map(part_text, files), LIST_ACTIONS]), tx=Store().begin())
    assert sorted(documented) == sorted(script.call("list"))  # type: ignore[arg-type]


def test_endpoints() -> None:
    section = TEXT.partition("## Two dialects")[2].partition("## Where")[0]
    named = {path for path in re.findall(r"/gov(/[^`, ]*[^`, .])`", section) if "..." not in path}
    assert len(named) >= 12
    assert named - {endpoint.path for endpoint in endpoints(Ops())} <= {"/api"}
