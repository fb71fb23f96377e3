import stat
from pathlib import Path

from controlplane.ccf_operator.identity import ensure_identity, has_identity, remove_identity
from controlplane.settings import Settings


def test_an_identity_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert not has_identity(settings, "i")
    made = ensure_identity(settings, "i")
    assert ensure_identity(settings, "i").certificate == made.certificate
    assert stat.S_IMODE(made.key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.key_file.parent.stat().st_mode) == 0o700
    assert ensure_identity(settings, "other").certificate != made.certificate
    remove_identity(settings, "i")
    assert not has_identity(settings, "i")
    remove_identity(settings, "i")


def test_half_an_identity_left_by_a_crash_is_made_anew(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    left = tmp_path / "operators" / ".i.tmp"
    left.mkdir(parents=True)
    (left / "operator_privk.pem").write_text("half")
    assert "BEGIN CERTIFICATE" in ensure_identity(settings, "i").certificate
    assert not left.exists()
