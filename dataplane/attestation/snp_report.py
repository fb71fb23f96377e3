"""The report a SEV-SNP processor signs about a guest: its layout (ledger-format.md 8.1). Nothing is verified here."""

import struct
from dataclasses import dataclass

REPORT_SIZE = 1184
SIGNED_SIZE = 0x2A0
"""The signature covers the bytes before it."""

_LAYOUT = struct.Struct(
    "<II"  # version, guest_svn
    "Q16s16s"  # policy, family_id, image_id
    "II8s"  # vmpl, signature_algo, platform_version
    "QI4x"  # platform_info, flags
    "64s48s32s"  # report_data, measurement, host_data
    "48s48s32s32s"  # id_key_digest, author_key_digest, report_id, report_id_ma
    "8sBBB21x"  # reported_tcb, cpuid_fam_id, cpuid_mod_id, cpuid_step
    "64s8s"  # chip_id, committed_tcb
    "BBBxBBBx"  # current and committed build, minor, major
    "8s168x"  # launch_tcb
    "72s72s368s"  # signature r, s and what must be zero
)


@dataclass(frozen=True, slots=True)
class Report:
    """A report, field by field in its order; names as in the ABI specification, numbers little-endian.

    `policy`, `platform_info` and `flags` are bit fields. TCB versions are eight bytes whose meaning depends on the
    product (ledger-format.md 8.2). `signature_r`, `signature_s` are little-endian; `signature_rest` must be zero.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algo: int
    platform_version: bytes
    platform_info: int
    flags: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid_fam_id: int
    cpuid_mod_id: int
    cpuid_step: int
    chip_id: bytes
    committed_tcb: bytes
    current_build: int
    current_minor: int
    current_major: int
    committed_build: int
    committed_minor: int
    committed_major: int
    launch_tcb: bytes
    signature_r: bytes
    signature_s: bytes
    signature_rest: bytes

    @property
    def debug(self) -> bool:
        """Whether the host may read the guest's memory."""
        return bool(self.policy >> 19 & 1)

    @property
    def migrate_ma(self) -> bool:
        """Whether a migration agent may move the guest, and so double it."""
        return bool(self.policy >> 18 & 1)

    @property
    def mask_chip_key(self) -> bool:
        """Whether the operator had the signature left out."""
        return bool(self.flags >> 1 & 1)

    @property
    def signing_key(self) -> int:
        """Which key signed, 0 for the VCEK."""
        return self.flags >> 2 & 0b111


def parse_report(data: bytes) -> Report:
    """Read `REPORT_SIZE` bytes; raises `ValueError` for any other number of them."""
    if len(data) != REPORT_SIZE:
        raise ValueError(f"a report has {REPORT_SIZE} bytes, not {len(data)}")
    return Report(*_LAYOUT.unpack(data))
