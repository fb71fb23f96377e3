"""Run a script in a fresh interpreter with everything defaulted."""

from collections.abc import Mapping, Sequence

from dataplane.js.host import Access, Natives
from dataplane.js.interpreter import Limits, call
from dataplane.kv.store import Store
from dataplane.kv.tx import Tx


class Script:
    """A module `main.js` (or several modules), run against a store; collects what it logs."""

    def __init__(
        self,
        source: str | Mapping[str, str],
        *,
        access: Access = Access.APP_READ_WRITE,
        limits: Limits | None = None,
        natives: Natives | None = None,
        tx: Tx | None = None,
    ) -> None:
        self.modules = {"main.js": source} if isinstance(source, str) else dict(source)
        self.access = access
        self.limits = limits or Limits()
        self.natives = natives or {}
        self.tx = tx if tx is not None else Store().begin()
        self.lines: list[tuple[str, str]] = []

    def call(self, function: str = "run", args: Sequence[object] = ()) -> object:
        """Call an export of `main.js`."""
        return call(
            self.modules.get,
            "main.js",
            function,
            args,
            tx=self.tx,
            access=self.access,
            limits=self.limits,
            natives=self.natives,
            console=lambda level, text: self.lines.append((level, text)),
        )


def run(body: str, args: Sequence[object] = (), **options: object) -> object:
    """The result of a function body that may use `args`."""
    return Script(f"export function run(...args) {{ {body} }}", **options).call(args=args)  # type: ignore[arg-type]
