"""Prometheus' text format, and who gets it."""

import pytest

from dataplane.api.prometheus import Family, counter, gauge, render, wants_text
from dataplane.errors import RpcError

# What Prometheus 2 and 3 send.
SCRAPERS = [
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
    "text/plain",
]


def test_the_text() -> None:
    families = [
        gauge("a_gauge", "One\nline.", 1.5),
        counter("a_total", "Back\\slash.", 3),
        Family("c", "gauge", "Labels.", [({"x": 'say "hi"\n', "y": "2"}, 0)]),
    ]
    assert render(families) == (
        "# HELP a_gauge One\\nline.\n# TYPE a_gauge gauge\na_gauge 1.5\n"
        "# HELP a_total Back\\\\slash.\n# TYPE a_total counter\na_total 3\n"
        '# HELP c Labels.\n# TYPE c gauge\nc{x="say \\"hi\\"\\n",y="2"} 0\n'
    )


@pytest.mark.parametrize("accept", SCRAPERS)
def test_a_scraper_wants_text(accept: str) -> None:
    assert wants_text(accept)


@pytest.mark.parametrize("accept", [None, "", "*/*", "application/json", "text/html,*/*;q=0.8", "text/plain, */*"])
def test_others_get_json(accept: str | None) -> None:
    assert not wants_text(accept)


def test_an_unreadable_wish_is_refused() -> None:
    with pytest.raises(RpcError):
        wants_text("text")
