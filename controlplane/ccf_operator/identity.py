"""The operator member's key: one pair per instance, in files, never a row (decisions 5).

    <data_dir>/operators/<instance id>/operator_cert.pem     0644
    <data_dir>/operators/<instance id>/operator_privk.pem    0600

The pair is made in a directory of its own and renamed into place, so a crash leaves all of it or nothing.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from controlplane.settings import Settings
from dataplane.client.signing import new_identity

NAME = "operator"


@dataclass(frozen=True, slots=True)
class OperatorIdentity:
    certificate_file: Path
    key_file: Path

    @property
    def certificate(self) -> str:
        return self.certificate_file.read_text(encoding="utf-8")


def ensure_identity(settings: Settings, instance_id: str) -> OperatorIdentity:
    """The instance's operator, made at first use. Safe to repeat, and against another process doing the same."""
    place = _place(settings, instance_id)
    if not place.exists():
        fresh = place.with_name(f".{instance_id}.tmp")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True, mode=0o700)
        new_identity(NAME, fresh, encryption_key=False)
        fresh.rename(place)
    return OperatorIdentity(place / f"{NAME}_cert.pem", place / f"{NAME}_privk.pem")


def has_identity(settings: Settings, instance_id: str) -> bool:
    return _place(settings, instance_id).exists()


def remove_identity(settings: Settings, instance_id: str) -> None:
    """Forget the key of an instance that is gone."""
    shutil.rmtree(_place(settings, instance_id), ignore_errors=True)


def _place(settings: Settings, instance_id: str) -> Path:
    return settings.data_dir / "operators" / instance_id
