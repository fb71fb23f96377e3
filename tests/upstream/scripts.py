"""CCF's end-to-end scripts, as its own build runs them (drop-in.md 4; arguments from the public build files).

`{tree}` stands for the source tree. Scripts of group A need only what a generic JavaScript node offers; those of group
B name the native logging sample as their package, and run here with whatever our executable answers under that name.
"""

from dataclasses import dataclass

DEFAULT_CONSTITUTION = tuple(
    f"{{tree}}/samples/constitutions/default/{part}.js" for part in ("actions", "validate", "resolve", "apply")
)
TEST_CONSTITUTION = (
    "{tree}/samples/constitutions/default/actions.js",
    "{tree}/samples/constitutions/test/test_actions.js",
    "{tree}/samples/constitutions/default/validate.js",
    "{tree}/samples/constitutions/test/resolve.js",
    "{tree}/samples/constitutions/default/apply.js",
)
VIRTUAL_ACTIONS = "{tree}/samples/constitutions/virtual/virtual_attestation_actions.js"


@dataclass(frozen=True, slots=True)
class Script:
    """One run of one script. `only` is a regular expression of its runners, None for all."""

    name: str
    group: str
    path: str
    arguments: tuple[str, ...] = ()
    only: str | None = None
    constitution: tuple[str, ...] = DEFAULT_CONSTITUTION
    timeout_s: float = 900.0


_LOGGING_BUNDLE = ("--js-app-bundle", "{tree}/samples/apps/logging/js")
_SLOW_ELECTION = ("--election-timeout-ms", "10000")
_TEMPLATES = ("--jinja-templates-path", "{tree}/samples/templates")
_API = ("--gov-api-version", "2024-07-01")

SCRIPTS = (
    Script("e2e_logging_js", "A", "e2e_logging.py", _LOGGING_BUNDLE, "^js$"),
    Script("e2e_logging_js_illegal", "A", "e2e_logging.py", _LOGGING_BUNDLE, "^js_illegal$"),
    Script("e2e_batched", "A", "e2e_batched.py", ("--js-app-bundle", "{tree}/src/apps/batched", *_SLOW_ELECTION)),
    Script("redirects", "A", "redirects.py", _LOGGING_BUNDLE, "^js_"),
    Script("consistency_trace_validation", "A", "consistency_trace_validation.py"),
    Script("modules", "A", "js-modules/modules.py", ("--package", "js_generic", *_SLOW_ELECTION)),
    Script(
        "custom_authorization",
        "A",
        "js-custom-authorization/custom_authorization.py",
        ("--package", "js_generic", "--js-app-bundle", "{tree}/tests"),
    ),
    Script(
        "code_update", "A", "code_update.py", _LOGGING_BUNDLE, constitution=(*DEFAULT_CONSTITUTION, VIRTUAL_ACTIONS)
    ),
    Script(
        "governance",
        "B",
        "governance.py",
        ("--initial-operator-count", "1", *_TEMPLATES, *_LOGGING_BUNDLE),
        constitution=TEST_CONSTITUTION,
    ),
    Script("membership", "B", "membership.py", _API),
    Script("jwt_test", "B", "jwt_test.py"),
    Script("recovery", "B", "recovery.py", _API),
    Script("reconfiguration", "B", "reconfiguration.py"),
    Script("election", "B", "election.py"),
    Script("rotation", "B", "rotation.py"),
    Script("committable", "B", "committable.py", ("--sig-ms-interval", "100")),
    Script("e2e_operations", "B", "e2e_operations.py"),
    Script("connections", "B", "connections.py"),
    Script("limits", "B", "limits.py"),
    Script("fuzzing", "B", "fuzzing.py"),
    Script(
        "schema",
        "B",
        "schema.py",
        (
            "--schema-dir", "{tree}/doc/schemas", "--ledger-tutorial", "{tree}/python/ledger_tutorial.py",
            "--config-samples-dir", "{tree}/samples/config", "--historical-testdata", "{tree}/tests/testdata",
        ),
    ),
)  # fmt: skip
