"""Launcher files, command line and log lines (drop-in.md 3.1, 3.2, 3.5)."""

import json
import logging
import re
from pathlib import Path

import pytest

from dataplane.config import ConfigError
from dataplane.host.command_line import parse_arguments, read_config, version_text
from dataplane.host.files import PidFileExists, claim_pid_file, write_whole
from dataplane.host.log import _JsonLine, _TextLine, configure, flush, line_writer


def test_a_file_is_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "cert.pem", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["cert.pem"]


def test_the_pid_file_is_claimed_once(tmp_path: Path) -> None:
    claim_pid_file(tmp_path / "node.pid")
    with pytest.raises(PidFileExists):
        claim_pid_file(tmp_path / "node.pid")


def test_the_command_line_of_the_original() -> None:
    arguments = parse_arguments(["--config", "0.config.json", "--log-level", "INFO", "--config-timeout", "10s"])
    assert (arguments.config, arguments.log_level, arguments.config_timeout_ms) == ("0.config.json", "info", 10_000)


def test_the_version_text_has_two_lines() -> None:
    first, second = version_text().splitlines()
    assert first.startswith("CCF host: ")
    assert second == "Platform: Virtual"


def test_a_configuration_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_config(str(tmp_path / "missing.json"), 0)


def test_log_lines_are_one_line_with_level_and_tag() -> None:
    record = logging.LogRecord("node", logging.WARNING, "/x/file.py", 7, "two\nlines", (), None)
    text = _TextLine().format(record)
    assert "[fail ][node] file.py:7 | two\\nlines" in text
    assert json.loads(_JsonLine().format(record))["level"] == "fail"


def test_lines_written_with_every_request_look_like_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        configure("info", "Text")
        logging.getLogger("js").info("JS execution\ncomplete")
        line_writer("js", "/x/run.py")("JS execution\ncomplete")
        configure("fail", "Text")
        line_writer("js", "/x/run.py")("below the level")
        configure("info", "Json")
        line_writer("js", "/x/run.py")("as JSON")
        flush()
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
        logging.captureWarnings(False)
    slow, fast, as_json = capsys.readouterr().out.splitlines()
    pattern = (
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z -0\.000 0   \[info \]\[js\] \w+\.py:\d+ \| JS execution\\ncomplete"
    )
    assert re.fullmatch(pattern, slow)
    assert re.fullmatch(pattern, fast)
    assert json.loads(as_json)["msg"] == "as JSON"
