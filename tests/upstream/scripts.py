"""CCF's end-to-end scripts, as its own build runs them (drop-in.md 4; arguments from the public build files).

`{tree}` stands for the source tree. Scripts of group A need only what a generic JavaScript node offers; those of group
B name the native logging sample as their package. Our executable stands there too, and the JavaScript form of the same
sample is deployed on it, which the scripts do on their own when `--js-app-bundle` is given. Runners of one script start
at the same time unless they are called one by one, so each is an entry of its own here, named `script.runner`.
"""

from collections.abc import Sequence
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
    """One run of one script. `only` is a regular expression of its runners, None for all.

    `without` names functions that are left out, because they ask for something of the native sample alone.
    """

    name: str
    group: str
    path: str
    arguments: tuple[str, ...] = ()
    only: str | None = None
    constitution: tuple[str, ...] = DEFAULT_CONSTITUTION
    timeout_s: float = 900.0
    without: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """What several entries have in common: the name before the dot."""
        return self.name.split(".")[0]


_LOGGING_BUNDLE = ("--js-app-bundle", "{tree}/samples/apps/logging/js")
_SLOW_ELECTION = ("--election-timeout-ms", "10000")
_TEMPLATES = ("--jinja-templates-path", "{tree}/samples/templates")
_API = ("--gov-api-version", "2024-07-01")
_RECOVERY = (*_API, "--with-election", "--with-unsigned-suffix")


def _each(
    name: str,
    runners: Sequence[str],
    arguments: Sequence[str] = (),
    constitution: tuple[str, ...] = DEFAULT_CONSTITUTION,
) -> tuple[Script, ...]:
    """One entry of group B for each runner of a script, with the logging sample."""
    return tuple(
        Script(f"{name}.{runner}", "B", f"{name}.py", (*_LOGGING_BUNDLE, *arguments), f"^{runner}$", constitution)
        for runner in runners
    )


def _whole(name: str, arguments: Sequence[str] = ()) -> Script:
    """A script of group B that knows no runners."""
    return Script(name, "B", f"{name}.py", (*_LOGGING_BUNDLE, *arguments))


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
    *_each(
        "governance",
        ("single_node", "session_coseauth", "js", "replay", "history", "gov_api"),
        ("--initial-operator-count", "1", *_TEMPLATES),
        TEST_CONSTITUTION,
    ),
    *_each("membership", ("membership", "member_client"), _API),
    *_each("jwt_test", ("auto", "manual", "ca_cert")),
    *_each(
        "recovery",
        (
            "recovery_from_expired_service", "recovery_from_sgx_service",
            "recovery_from_double_sealed_service", "recovery_from_cose_flipflop_service",
            "recovery_from_acme_containing_service", "recovery_corrupt_ledger", "recovery_snapshot_alone",
            "recovery_via_initial_recovery_owner", "recovery_via_added_recovery_owner",
            "recovery_with_incomplete_ledger",
        ),
        _RECOVERY,
    ),
    Script(
        "recovery.recovery", "B", "recovery.py", (*_LOGGING_BUNDLE, *_RECOVERY), "^recovery$",
        without=("e2e_logging.test_cose_receipt_schema", "recovery.test_recover_service_with_wrong_identity"),
    ),
    *_each("reconfiguration", ("reconfiguration",)),
    *_each("election", ("cft",)),
    _whole("rotation"),
    _whole("committable", ("--sig-ms-interval", "100")),
    *_each("e2e_logging", ("common",)),
    *_each("connections", ("robustness", "idletimeout", "caps")),
    *_each("limits", ("parser_limits",)),
    _whole("historical_query_cache"),
    _whole("fuzzing"),
    *_each(
        "schema",
        ("schema", "nobuiltins", "tutorial", "operations"),
        (
            "--schema-dir", "{tree}/doc/schemas", "--ledger-tutorial", "{tree}/python/ledger_tutorial.py",
            "--config-samples-dir", "{tree}/samples/config", "--historical-testdata", "{tree}/tests/testdata",
        ),
    ),
    Script(
        "e2e_suite",
        "B",
        "e2e_suite.py",
        (*_LOGGING_BUNDLE, *_TEMPLATES, "--test-duration", "300", "--test-suite", "all"),
        constitution=TEST_CONSTITUTION,
    ),
)  # fmt: skip

REASONS: dict[str, str] = {
    "recovery.recovery": "what is left out wants endpoints of the native sample, and Ruby's `cddl`; of the second all"
    " passes before it asks for `/log/private/historical/handle`",
    "schema.schema": "compares OpenAPI documents byte for byte, that of the native sample among them; ours have the"
    " same paths and schemas in words of our own",
    "schema.operations": "passes up to its last function, `run_ledger_chunk_bytes_check`, which stops a backup for a"
    " while and waits for it to unseat a healthy primary; ours reads what has arrived before it counts silence",
    "schema.nobuiltins": "starts a native application that leaves out the common endpoints",
    "jwt_test.auto": "its last function fetches keys from login.microsoftonline.com; the others pass",
}
"""Why an entry, or every entry of a script, does not exit 0 although our node does what the original does, or what is
to come in a later step."""
