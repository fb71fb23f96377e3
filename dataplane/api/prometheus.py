"""Prometheus' text format, version 0.0.4: families of samples, and when a client wants them (node-api.md 2.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataplane.api.negotiation import weight_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `kind` is `gauge` or `counter` (whose name ends in `_total`); each sample has its labels."""

    name: str
    kind: str
    description: str
    samples: Sequence[tuple[Labels, float]]


def gauge(name: str, description: str, value: float) -> Family:
    """A family of one sample without labels that may rise and fall."""
    return Family(name, "gauge", description, [({}, value)])


def counter(name: str, description: str, value: float) -> Family:
    """A family of one sample without labels that only rises while the node runs."""
    return Family(name, "counter", description, [({}, value)])


def wants_text(accept: str | None) -> bool:
    """Whether a client prefers the text to JSON. Prometheus does; one that says nothing does not.

    Raises `RpcError` 400 for an `Accept` header that cannot be read.
    """
    return bool(accept) and weight_of("text/plain", str(accept)) > weight_of("application/json", str(accept))


def render(families: Sequence[Family]) -> str:
    """The exposition: help, type, then the samples of each family."""
    return "".join(_family(family) for family in families)


def _family(family: Family) -> str:
    head = f"# HELP {family.name} {_escape(family.description)}\n# TYPE {family.name} {family.kind}\n"
    return head + "".join(f"{family.name}{_labels(labels)} {_number(value)}\n" for labels, value in family.samples)


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escape(value, quoted=True)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escape(text: str, *, quoted: bool = False) -> str:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n")
    return escaped.replace('"', r"\"") if quoted else escaped


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
