"""Products, and TCB versions of SEV-SNP machines (ledger-format.md 8.2, 8.3, 8.6).

The eight bytes mean different components on each product, so a version is read together with the CPUID.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

_TCB_BYTES = 8
_CPUID_BYTES = 4
_MILAN_GENOA = {"boot_loader": 0, "tee": 1, "snp": 6, "microcode": 7}
_TURIN = {"fmc": 0, "boot_loader": 1, "tee": 2, "snp": 3, "microcode": 7}
COMPONENTS = ("fmc", "boot_loader", "tee", "snp", "microcode")


class Product(StrEnum):
    """A family of processors."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"


_PRODUCTS = {(0x19, 0x01): Product.MILAN, (0x19, 0x11): Product.GENOA, (0x1A, 0x01): Product.TURIN}
_PLACES = {Product.MILAN: _MILAN_GENOA, Product.GENOA: _MILAN_GENOA, Product.TURIN: _TURIN}


def product_of(family: int, model: int) -> Product:
    """The product with this CPUID family and model; raises `ValueError`."""
    product = _PRODUCTS.get((family, model))
    if product is None:
        raise ValueError(f"no SEV-SNP product is known with CPUID family {family} and model {model}")
    return product


def tcb_components(product: Product, version: bytes) -> dict[str, int]:
    """The components in the eight bytes of a report."""
    return {name: version[place] for name, place in _PLACES[product].items()}


def tcb_hex(version: bytes) -> str:
    """The text form of the eight bytes of a report: most significant byte first."""
    return version[::-1].hex()


def parse_tcb_hex(text: str) -> bytes:
    """The eight bytes of a report from their text form; raises `ValueError`."""
    return _bytes(text, _TCB_BYTES, "TCB version")[::-1]


def tcb_policy(cpuid_hex: str, tcb_hex: str) -> dict[str, int | str]:
    """The components of a TCB version, and its own text: a value of `snp.tcb_versions` (ledger-format.md 8.6).

    Both texts are hexadecimal, most significant byte first. Raises `ValueError` for other texts, or another product.
    """
    family, model, _ = _parse_cpuid(cpuid_hex)
    return {**tcb_components(product_of(family, model), parse_tcb_hex(tcb_hex)), "hexstring": tcb_hex.lower()}


def least_tcb(
    policies: Iterable[tuple[str, Mapping[str, object]]], family: int, model: int, stepping: int
) -> Mapping[str, object] | None:
    """The policy of a processor among those of `snp.tcb_versions`, pairs of CPUID text and policy; None without one."""
    for cpuid_hex, policy in policies:
        try:
            cpuid = _parse_cpuid(cpuid_hex)
        except ValueError:
            continue  # a key that names no processor speaks of none
        if cpuid == (family, model, stepping):
            return policy
    return None


def meets(least: Mapping[str, object], components: Mapping[str, int]) -> bool:
    """Whether each component is at least what a policy asks for; what one names the other must name, too."""
    for name in COMPONENTS:
        wanted, found = least.get(name), components.get(name)
        if wanted is None and found is None:
            continue
        if type(wanted) is not int or found is None or found < wanted:
            return False
    return True


def _parse_cpuid(text: str) -> tuple[int, int, int]:
    """Family, model and stepping from the text of CPUID leaf 1, register EAX."""
    cpuid = int.from_bytes(_bytes(text, _CPUID_BYTES, "CPUID"), "big")
    family = ((cpuid >> 8) & 0xF) + ((cpuid >> 20) & 0xFF)
    return family, ((cpuid >> 12) & 0xF0) | ((cpuid >> 4) & 0xF), cpuid & 0xF


def _bytes(text: str, size: int, what: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size or len(text) != 2 * size:
        raise ValueError(f"the {what} {text!r} does not have {2 * size} hexadecimal digits")
    return value
