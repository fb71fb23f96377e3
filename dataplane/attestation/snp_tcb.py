"""TCB versions of SEV-SNP machines, as members state the least they accept (ledger-format.md 8.2).

The eight bytes mean different components on each product, so a version is read together with the CPUID.
"""

_TCB_BYTES = 8
_CPUID_BYTES = 4
_MILAN_GENOA = {"boot_loader": 0, "tee": 1, "snp": 6, "microcode": 7}
_TURIN = {"fmc": 0, "boot_loader": 1, "tee": 2, "snp": 3, "microcode": 7}
_COMPONENTS = {  # by (family, model), ledger-format.md 8.3
    (0x19, 0x01): _MILAN_GENOA,
    (0x19, 0x11): _MILAN_GENOA,
    (0x1A, 0x01): _TURIN,
}


def tcb_policy(cpuid_hex: str, tcb_hex: str) -> dict[str, int | str]:
    """The components of a TCB version, and its own text: a value of `snp.tcb_versions` (ledger-format.md 8.6).

    Both texts are hexadecimal, most significant byte first. Raises `ValueError` for other texts, or another product.
    """
    cpuid = int.from_bytes(_bytes(cpuid_hex, _CPUID_BYTES, "CPUID"), "big")
    family = ((cpuid >> 8) & 0xF) + ((cpuid >> 20) & 0xFF)
    model = ((cpuid >> 12) & 0xF0) | ((cpuid >> 4) & 0xF)
    components = _COMPONENTS.get((family, model))
    if components is None:
        raise ValueError(f"no SEV-SNP product is known with CPUID family {family} and model {model}")
    version = _bytes(tcb_hex, _TCB_BYTES, "TCB version")[::-1]
    return {name: version[index] for name, index in components.items()} | {"hexstring": tcb_hex.lower()}


def _bytes(text: str, size: int, what: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size or len(text) != 2 * size:
        raise ValueError(f"the {what} {text!r} does not have {2 * size} hexadecimal digits")
    return value
