"""Applications run the same with new runtimes and with images: every test here runs both ways."""

import pytest

from tests.support.fresh import WAYS, use


@pytest.fixture(params=WAYS, autouse=True)
def fresh_interpreters(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    use(request.param, monkeypatch)
