"""DER: shortest forms alone, nothing around an element, and the extensions of a certificate as the library has them."""

import pytest
from cryptography import x509

from dataplane.crypto.der import (
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    DerDecodeError,
    certificate_extensions,
    elements,
    only,
    unsigned,
)
from tests.support.snp import Chip, der

VCEK = der(Chip().chain())[0]


def _element(tag: int, contents: bytes) -> bytes:
    size = len(contents)
    if size < 0x80:
        return bytes([tag, size]) + contents
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 + len(length)]) + length + contents


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_lengths(size: int) -> None:
    data = _element(OCTET_STRING, bytes(size)) + _element(INTEGER, b"\1")
    assert list(elements(data)) == [(OCTET_STRING, bytes(size)), (INTEGER, b"\1")]
    assert only(_element(SEQUENCE, data), SEQUENCE) == data


@pytest.mark.parametrize(
    "data",
    [
        "30",
        "3001",
        "3080",
        "308000",
        "30817f" + "00" * 127,
        "30820080" + "00" * 128,
        "3085000000000000",
        "30ff",
        "3081",
    ],
)
def test_what_is_not_der(data: str) -> None:
    with pytest.raises(DerDecodeError):
        list(elements(bytes.fromhex(data)))


def test_one_element_and_nothing_around_it() -> None:
    for data in (b"", bytes.fromhex("30003000"), bytes.fromhex("3100"), bytes.fromhex("300000")):
        with pytest.raises(DerDecodeError):
            only(data, SEQUENCE)


@pytest.mark.parametrize(("data", "value"), [("020100", 0), ("02017f", 127), ("02020080", 128), ("020200ff", 255)])
def test_unsigned_integers(data: str, value: int) -> None:
    assert unsigned(bytes.fromhex(data)) == value


@pytest.mark.parametrize("data", ["0200", "0201ff", "02020001", "0202007f", "040101", "02010100", ""])
def test_other_integers(data: str) -> None:
    with pytest.raises(DerDecodeError):
        unsigned(bytes.fromhex(data))


def test_extensions_are_those_the_library_finds() -> None:
    expected = x509.load_der_x509_certificate(VCEK).extensions
    found = certificate_extensions(VCEK)
    assert list(found.values()) == [extension.value.public_bytes() for extension in expected]
    amd = bytes.fromhex("2b060104019c78010303")
    assert found[amd] == bytes.fromhex("020118")


def test_an_extension_may_stand_there_once() -> None:
    once = _element(SEQUENCE, bytes.fromhex("06012a") + _element(OCTET_STRING, b"x"))
    tbs = _element(SEQUENCE, _element(0xA3, _element(SEQUENCE, once * 2)))
    with pytest.raises(DerDecodeError, match="twice"):
        certificate_extensions(_element(SEQUENCE, tbs))


@pytest.mark.parametrize(
    "extension", ["0400", "3000", "3003060100", "300606012a060100", "300602012a040100", "300c06012a0101ff0101ff040100"]
)
def test_what_is_no_extension(extension: str) -> None:
    tbs = _element(SEQUENCE, _element(0xA3, _element(SEQUENCE, bytes.fromhex(extension))))
    with pytest.raises(DerDecodeError):
        certificate_extensions(_element(SEQUENCE, tbs))


def test_a_certificate_has_a_body() -> None:
    for data in (b"", bytes.fromhex("3000"), bytes.fromhex("30020400")):
        with pytest.raises(DerDecodeError):
            certificate_extensions(data)
    assert certificate_extensions(bytes.fromhex("30023000")) == {}
