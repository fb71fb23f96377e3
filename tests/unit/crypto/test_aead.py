"""AES-GCM in parts is AES-GCM."""

import pytest

from dataplane.crypto.aead import AesGcm, DecryptionFailed

KEY, IV = bytes(range(32)), bytes(12)


@pytest.mark.parametrize("parts", [[], [b""], [b"one"], [b"some", b"", b"parts", bytes(1000)]])
def test_sealing_in_parts_gives_what_sealing_at_once_does(parts: list[bytes]) -> None:
    pauses: list[None] = []
    tag, ciphertext = AesGcm(KEY).seal_parts(IV, parts, [b"in", b"clear"], lambda: pauses.append(None))
    assert (tag, b"".join(ciphertext)) == AesGcm(KEY).seal(IV, b"".join(parts), b"inclear")
    assert AesGcm(KEY).open(IV, tag, b"".join(ciphertext), b"inclear") == b"".join(parts)
    assert len(pauses) == len(parts) + 2


def test_what_is_in_clear_counts() -> None:
    tag, ciphertext = AesGcm(KEY).seal_parts(IV, [b"secret"], [b"in clear"], lambda: None)
    with pytest.raises(DecryptionFailed):
        AesGcm(KEY).open(IV, tag, b"".join(ciphertext), b"in the clear")
