"""Every parser that is fuzzed."""

from collections.abc import Mapping

from tests.fuzz import targets_files, targets_governed, targets_signed, targets_snp, targets_wire
from tests.fuzz.harness import Target

ALL: Mapping[str, Target] = {
    target.name: target
    for module in (targets_wire, targets_signed, targets_files, targets_governed, targets_snp)
    for target in module.TARGETS
}
