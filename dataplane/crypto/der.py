"""DER (ITU-T X.690), as far as it takes to find the extensions of a certificate.

The library's own reader refuses, or soon will, certificates that chip makers issue with the serial number 0.
"""

from collections.abc import Iterator

SEQUENCE = 0x30
OCTET_STRING = 0x04
INTEGER = 0x02
OBJECT_IDENTIFIER = 0x06
_EXTENSIONS = 0xA3  # field 3 of a TBSCertificate, RFC 5280 4.1

_LONG_FORM = 0x80
_MOST_LENGTH_BYTES = 4


class DerDecodeError(ValueError):
    """The bytes are not DER, or not of the type that was expected."""


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and contents of every element, one after the other; raises `DerDecodeError`. Tags have one byte."""
    rest = memoryview(data)
    while rest:
        if len(rest) < 2:
            raise DerDecodeError("an element is cut short")
        size, begin = _length(rest)
        if len(rest) < begin + size:
            raise DerDecodeError("an element is longer than what holds it")
        yield rest[0], bytes(rest[begin : begin + size])
        rest = rest[begin + size :]


def only(data: bytes, tag: int) -> bytes:
    """The contents of the one element in `data`, which must have this tag; raises `DerDecodeError`."""
    found = list(elements(data))
    if len(found) != 1 or found[0][0] != tag:
        raise DerDecodeError(f"not one element with tag {tag:#x}")
    return found[0][1]


def unsigned(data: bytes) -> int:
    """The value of the one INTEGER in `data`, which must not be negative; raises `DerDecodeError`."""
    contents = only(data, INTEGER)
    value = int.from_bytes(contents, "big", signed=True)
    if not contents or value < 0 or len(contents) != value.bit_length() // 8 + 1:
        raise DerDecodeError("no shortest form of an unsigned integer")
    return value


def certificate_extensions(certificate: bytes) -> dict[bytes, bytes]:
    """The extensions of a DER certificate: value by the contents of the object identifier. Raises `DerDecodeError`."""
    fields = list(elements(only(certificate, SEQUENCE)))
    if not fields or fields[0][0] != SEQUENCE:
        raise DerDecodeError("no certificate")
    found: dict[bytes, bytes] = {}
    for tag, contents in elements(fields[0][1]):
        if tag != _EXTENSIONS:
            continue
        for extension_tag, extension in elements(only(contents, SEQUENCE)):
            name, value = _extension(extension_tag, extension)
            if name in found:
                raise DerDecodeError("an extension stands twice in the certificate")
            found[name] = value
    return found


def _extension(tag: int, contents: bytes) -> tuple[bytes, bytes]:
    parts = list(elements(contents))  # identifier, criticality where it is not the default, value
    if tag != SEQUENCE or len(parts) not in (2, 3):
        raise DerDecodeError("no extension")
    (first, name), (last, value) = parts[0], parts[-1]
    if first != OBJECT_IDENTIFIER or last != OCTET_STRING:
        raise DerDecodeError("no extension")
    return name, value


def _length(element: memoryview) -> tuple[int, int]:
    """Size of the contents, and where they begin."""
    first = element[1]
    if first < _LONG_FORM:
        return first, 2
    count = first - _LONG_FORM
    if not 0 < count <= _MOST_LENGTH_BYTES or len(element) < 2 + count:
        raise DerDecodeError("a length that DER does not know")
    size = int.from_bytes(element[2 : 2 + count], "big")
    if size < _LONG_FORM or size.bit_length() <= 8 * (count - 1):
        raise DerDecodeError("a length that is not in its shortest form")
    return size, 2 + count
