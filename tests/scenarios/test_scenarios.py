"""Every play prints what lies beside it, and the assertions in it hold."""

from pathlib import Path

import pytest

from tests.scenarios.driver import Driver, ScenarioFailed

PLAYS = sorted((Path(__file__).parent / "plays").glob("*.txt"))


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.stem)
def test_play(play: Path) -> None:
    assert Driver().run(play.read_text()) == play.with_suffix(".expected").read_text()


def test_there_are_plays() -> None:
    assert len(PLAYS) >= 10


def test_a_false_assertion_names_its_line() -> None:
    with pytest.raises(ScenarioFailed, match=r"line 2, assert_commit_idx,0,7: .*the commit of 0 is 2"):
        Driver().run("start_node,0\nassert_commit_idx,0,7\n")


def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(ScenarioFailed, match="line 1, dance"):
        Driver().run("dance,0\n")
