"""The refresh of token issuers' keys: what is asked, submitted, counted, and what cannot stop it."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dataplane.apps.endpoint import Response
from dataplane.governance.jwt import RefreshedIssuer
from dataplane.node.https_get import HttpsAnswer, HttpsFailed
from dataplane.node.jwt_refresh import JwtKeyRefresh, RefreshCounts
from tests.support.loops import on_uvloop, until

ISSUER = RefreshedIssuer("https://issuer/tenant/", "ca", "PEM")
DISCOVERY = "https://issuer/tenant/.well-known/openid-configuration"
KEYS = {"keys": [{"kid": "k"}]}


def _json(value: object) -> HttpsAnswer:
    return HttpsAnswer(200, json.dumps(value).encode())


@dataclass
class World:
    """An issuer and a node, as far as the refresh sees them."""

    issuers: list[RefreshedIssuer] = field(default_factory=lambda: [ISSUER])
    pages: dict[str, HttpsAnswer | Exception] = field(
        default_factory=lambda: {
            DISCOVERY: _json({"jwks_uri": "https://issuer/keys"}),
            "https://issuer/keys": _json(KEYS),
        }
    )
    is_primary: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    submitted: list[object] = field(default_factory=list)
    answer: Response = field(default_factory=lambda: Response(200))
    on_ask: Callable[[], None] = lambda: None
    delay_s: float = 0.0

    async def fetch(self, url: str, bundle_pem: str, timeout_s: float) -> HttpsAnswer:
        self.asked.append((url, bundle_pem))
        self.on_ask()
        await asyncio.sleep(self.delay_s)
        page = self.pages.get(url, HttpsAnswer(404, b""))
        if isinstance(page, Exception):
            raise page
        return page

    def submit(self, body: bytes) -> Response:
        self.submitted.append(json.loads(body))
        return self.answer

    def refresh(self, interval_ms: int = 3_600_000) -> JwtKeyRefresh:
        refresh = JwtKeyRefresh(
            interval_ms=interval_ms,
            is_primary=lambda: self.is_primary,
            issuers=lambda: self.issuers,
            submit=self.submit,
            fetch=self.fetch,
        )
        refresh.start()
        return refresh


async def _once(world: World, attempts: int = 1) -> RefreshCounts:
    refresh = world.refresh()
    refresh.issuers_changed()
    await until(lambda: world.asked or attempts == 0, "a first question")
    if attempts:
        await until(lambda: refresh.counts.attempts == attempts, "the attempt")
    else:
        await asyncio.sleep(0.02)
    await refresh.close()
    return refresh.counts


@on_uvloop
async def test_discovery_leads_to_the_keys_and_these_are_submitted() -> None:
    world = World()
    assert await _once(world) == RefreshCounts(1, 1, 0)
    assert world.asked == [(DISCOVERY, "PEM"), ("https://issuer/keys", "PEM")]
    assert world.submitted == [{"issuer": ISSUER.issuer, "jwks": KEYS}]


@on_uvloop
async def test_every_interval_begins_another() -> None:
    world = World()
    refresh = world.refresh(interval_ms=5)
    await until(lambda: refresh.counts.successes >= 3, "three refreshes")
    await refresh.close()
    count = len(world.asked)
    await asyncio.sleep(0.03)
    assert len(world.asked) == count


@on_uvloop
async def test_a_backup_asks_nobody() -> None:
    world = World(is_primary=False)
    assert await _once(world, 0) == RefreshCounts()
    assert world.asked == []


@on_uvloop
async def test_a_primary_that_lost_its_place_submits_nothing() -> None:
    world = World()
    world.on_ask = lambda: setattr(world, "is_primary", False)
    refresh = world.refresh()
    refresh.issuers_changed()
    await until(lambda: len(world.asked) == 2, "both questions")
    await asyncio.sleep(0.01)
    await refresh.close()
    assert world.submitted == []


TROUBLE: dict[str, tuple[dict[str, HttpsAnswer | Exception], RefreshCounts]] = {
    "no answer": ({DISCOVERY: HttpsFailed("refused")}, RefreshCounts()),
    "no keys answered": ({"https://issuer/keys": HttpsFailed("refused")}, RefreshCounts()),
    "status": ({DISCOVERY: HttpsAnswer(503, b"")}, RefreshCounts(1, 0, 1)),
    "redirect": ({DISCOVERY: HttpsAnswer(302, b"")}, RefreshCounts(1, 0, 1)),
    "no JSON": ({DISCOVERY: HttpsAnswer(200, b"{")}, RefreshCounts(1, 0, 1)),
    "deep JSON": ({DISCOVERY: HttpsAnswer(200, b"[" * 100_000)}, RefreshCounts(1, 0, 1)),
    "no object": ({DISCOVERY: _json([])}, RefreshCounts(1, 0, 1)),
    "no jwks_uri": ({DISCOVERY: _json({"jwks_uri": 5})}, RefreshCounts(1, 0, 1)),
    "no key set": ({"https://issuer/keys": _json("text")}, RefreshCounts(1, 0, 1)),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_trouble_is_counted_only_where_the_issuer_answered(name: str, caplog: pytest.LogCaptureFixture) -> None:
    pages, counts = TROUBLE[name]

    @on_uvloop
    async def play() -> None:
        world = World()
        world.pages.update(pages)
        assert await _once(world, counts.attempts) == counts
        assert world.submitted == []

    with caplog.at_level(logging.INFO):
        play()
    (record,) = caplog.records
    assert "https://issuer/tenant/" in record.getMessage()
    assert record.levelno == (logging.WARNING if counts.failures else logging.INFO)


@on_uvloop
async def test_a_missing_bundle_is_a_failure() -> None:
    world = World(issuers=[RefreshedIssuer("https://issuer", "gone", None)])
    refresh = world.refresh()
    refresh.issuers_changed()
    await until(lambda: refresh.counts.failures == 1, "the failure")
    await refresh.close()
    assert world.asked == []


@on_uvloop
async def test_keys_the_node_refuses_are_a_failure() -> None:
    world = World(answer=Response(500, b'{"error":{}}'))
    assert await _once(world) == RefreshCounts(1, 0, 1)


@on_uvloop
async def test_one_issuer_in_trouble_holds_up_no_other() -> None:
    world = World(issuers=[RefreshedIssuer("https://silent", "ca", "PEM"), ISSUER])
    world.pages["https://silent/.well-known/openid-configuration"] = HttpsFailed("refused")
    assert await _once(world) == RefreshCounts(1, 1, 0)


def test_the_same_trouble_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    @on_uvloop
    async def play() -> None:
        world = World()
        world.pages[DISCOVERY] = HttpsAnswer(503, b"")
        refresh = world.refresh(interval_ms=2)
        await until(lambda: refresh.counts.failures >= 3, "three failures")
        world.pages[DISCOVERY] = _json({"jwks_uri": "https://issuer/keys"})
        await until(lambda: refresh.counts.successes, "a success")
        world.pages[DISCOVERY] = HttpsAnswer(503, b"")
        before = refresh.counts.failures
        await until(lambda: refresh.counts.failures > before, "another failure")
        await refresh.close()

    play()
    assert len(caplog.records) == 2


@on_uvloop
async def test_a_write_to_the_issuers_begins_anew_what_runs() -> None:
    world = World(delay_s=0.05)
    refresh = world.refresh()
    refresh.issuers_changed()
    await until(lambda: world.asked, "the first question")
    world.issuers = [RefreshedIssuer(ISSUER.issuer, "ca", "NEWER")]
    refresh.issuers_changed()
    await until(lambda: refresh.counts.successes == 1, "the refresh")
    await refresh.close()
    assert [bundle for _, bundle in world.asked] == ["PEM", "NEWER", "NEWER"]
    assert len(world.submitted) == 1


def test_an_unforeseen_exception_is_logged_and_the_next_refresh_runs(caplog: pytest.LogCaptureFixture) -> None:
    @on_uvloop
    async def play() -> None:
        world = World()
        world.pages[DISCOVERY] = RuntimeError("unforeseen")
        refresh = world.refresh(interval_ms=2)
        await until(lambda: len(world.asked) >= 2, "a second try")
        world.pages[DISCOVERY] = _json({"jwks_uri": "https://issuer/keys"})
        await until(lambda: refresh.counts.successes, "a success")
        await refresh.close()

    play()
    assert "unforeseen" in caplog.text
