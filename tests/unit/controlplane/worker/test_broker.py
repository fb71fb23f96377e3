import os
import stat
from pathlib import Path

import pytest
from kombu.utils.url import parse_url

from controlplane.settings import Settings
from controlplane.worker import broker


def test_the_broker_is_private_and_forgets(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    executable, configuration = broker.prepare(settings)
    assert os.access(executable, os.X_OK)
    path = Path(configuration)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((path.parent / "password").stat().st_mode) == 0o600
    lines = dict(line.split(" ", 1) for line in path.read_text().splitlines())
    assert (lines["port"], lines["save"], lines["appendonly"], lines["unixsocketperm"]) == ("0", '""', "no", "600")
    assert lines["requirepass"] == broker.read_password(settings)
    assert len(lines["requirepass"]) == 64


def test_the_password_survives_a_restart(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    broker.prepare(settings)
    before = broker.broker_url(settings)
    broker.prepare(settings)
    assert broker.broker_url(settings) == before
    assert parse_url(before)["password"] == broker.read_password(settings)


@pytest.mark.parametrize("name", ["d" * 120, "with space", "perc%ent"])
def test_a_path_no_socket_or_url_can_hold_is_replaced(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    settings = Settings(data_dir=tmp_path / name)
    path = broker.socket_path(settings)
    assert path.parent.parent == Path("/tmp")
    assert path == broker.socket_path(settings) != broker.socket_path(Settings(data_dir=tmp_path / "other" / name))


def test_a_socket_directory_of_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path)
    broker.prepare(settings)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(broker.NoBroker, match="belongs to someone else"):
        broker.prepare(settings)


def test_a_broker_of_ones_own_is_used(tmp_path: Path) -> None:
    assert broker.broker_url(Settings(data_dir=tmp_path, broker_url="redis://r:6379/0")) == "redis://r:6379/0"
