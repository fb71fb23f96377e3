"""Settings: defaults, file, environment, in that order."""

import json
from pathlib import Path

import pytest

from controlplane.settings import InvalidSettings, Settings, default_data_dir, initialise, load, write_private


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"port": 1, "zones": ["a", "b"], "backend": "docker"}))
    settings = load({"MCCF_PORT": "2", "MCCF_ALLOW_SINGLE_NODE": "true", "MCCF_LOCATIONS": "x, y"}, tmp_path)
    assert (settings.port, settings.zones, settings.backend) == (2, ("a", "b"), "docker")
    assert settings.allow_single_node
    assert settings.locations == ("x", "y")


def test_first_start_fixes_the_ids_and_later_ones_keep_them(tmp_path: Path) -> None:
    first = initialise({}, tmp_path / "new")
    assert first.tenant_id != first.subscription_id != Settings(tmp_path).subscription_id
    assert initialise({}, tmp_path / "new") == first
    assert ((tmp_path / "new").stat().st_mode & 0o777) == 0o700
    assert ((tmp_path / "new" / "settings.json").stat().st_mode & 0o777) == 0o600


@pytest.mark.parametrize(
    ("file", "environment"),
    [
        ("[]", {}),
        ("{", {}),
        ('{"nonsense": 1}', {}),
        ('{"port": "no"}', {}),
        ('{"zones": []}', {}),
        ("{}", {"MCCF_PORT": "eighty"}),
        ("{}", {"MCCF_ALLOW_SINGLE_NODE": "perhaps"}),
    ],
)
def test_settings_that_cannot_be_read(tmp_path: Path, file: str, environment: dict[str, str]) -> None:
    (tmp_path / "settings.json").write_text(file)
    with pytest.raises(InvalidSettings):
        load(environment, tmp_path)


def test_where_data_goes() -> None:
    assert default_data_dir({"MCCF_DATA_DIR": "/d"}) == Path("/d")
    assert default_data_dir({"XDG_DATA_HOME": "/x", "HOME": "/h"}) == Path("/x/mccf")
    assert default_data_dir({"HOME": "/h"}) == Path("/h/.local/share/mccf")


def test_urls(tmp_path: Path) -> None:
    settings = Settings(tmp_path, port=9)
    assert settings.base_url == "https://localhost:9"
    assert settings.sqlalchemy_url == f"sqlite:///{tmp_path}/mccf.db"
    assert Settings(tmp_path, public_url="https://a/").base_url == "https://a"


def test_private_files_are_private_from_the_first_byte_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert (path.stat().st_mode & 0o777) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
