"""Issuers of JSON Web Tokens and the keys their tokens are signed with (node-api.md 3.2, 4.5).

`jwt.issuers` tells whom members trust and whether the node fetches the keys itself; the signing keys stand by key id in
`jwt.public_signing_keys_metadata_v2`, where several issuers may share an id.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from dataplane.crypto.keys import public_pem, spki_der
from dataplane.crypto.token_keys import InvalidJwk, SigningKey, load_signing_key, public_key_of_jwk
from dataplane.kv.tables import (
    GOV,
    JWT_ISSUERS,
    JWT_PUBLIC_SIGNING_KEYS,
    TLS_CA_CERT_BUNDLES,
    get_json,
    load_json,
    put_json,
)
from dataplane.kv.tx import Tx

LEGACY_METADATA = f"{GOV}jwt.public_signing_keys_metadata"
"""Key id -> list of `{cert, issuer, constraint?}`, of releases before 6; read where the newer table has nothing."""
LEGACY_KEYS = f"{GOV}jwt.public_signing_key"
LEGACY_KEY_ISSUERS = f"{GOV}jwt.public_signing_key_issuer"
"""Older still: key id -> certificate DER, key id -> issuer; both raw."""


class InvalidKeySet(ValueError):
    """A key set that cannot be stored for its issuer; the text says which key and why."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One key under a key id. `constraint` is what the `iss` of its tokens must be, None for anything."""

    key: SigningKey
    issuer: str
    constraint: str | None


@dataclass(frozen=True, slots=True)
class RefreshedIssuer:
    """An issuer whose keys the node fetches. `bundle_pem` are the authorities of its TLS server, None where missing."""

    issuer: str
    bundle_name: str
    bundle_pem: str | None


def token_keys(tx: Tx, kid: str) -> Sequence[TokenKey]:
    """The keys stored under a key id, in their order; none where the id is unknown."""
    key = kid.encode("utf-8", "surrogatepass")
    row = tx.get(JWT_PUBLIC_SIGNING_KEYS, key)
    if row is not None:
        return _parsed(row)
    row = tx.get(LEGACY_METADATA, key)
    if row is not None:
        return _parsed(row)
    certificate, issuer = tx.get(LEGACY_KEYS, key), tx.get(LEGACY_KEY_ISSUERS, key)
    if certificate is None or issuer is None:
        return ()
    return _parsed(_json([{"cert": b64encode(certificate).decode(), "issuer": issuer.decode("utf-8", "replace")}]))


def set_signing_keys(tx: Tx, issuer: str, jwks: object) -> None:
    """Make `jwks` the keys of `issuer`: new ones stored, changed ones replaced, absent ones removed.

    What is stored already is not written again. Raises `InvalidKeySet`, and then has written nothing.
    """
    new = _entries(issuer, jwks)
    stored = {key.decode(): load_json(value) for key, value in tx.items(JWT_PUBLIC_SIGNING_KEYS)}
    for kid, entry in new.items():
        before = stored.get(kid, [])
        after = [entry if old["issuer"] == issuer else old for old in before]
        if entry not in after:
            after.append(entry)
        if after != before:
            put_json(tx, JWT_PUBLIC_SIGNING_KEYS, after, kid.encode())
    for kid, before in stored.items():
        if kid not in new:
            _drop_issuer(tx, JWT_PUBLIC_SIGNING_KEYS, kid.encode(), before, issuer)


def remove_signing_keys(tx: Tx, issuer: str) -> None:
    """Remove every key of `issuer`, those of older releases' tables included."""
    for table in (JWT_PUBLIC_SIGNING_KEYS, LEGACY_METADATA):
        for key, value in tx.items(table):
            _drop_issuer(tx, table, key, load_json(value), issuer)
    for key, value in tx.items(LEGACY_KEY_ISSUERS):
        if value == issuer.encode():
            tx.remove(LEGACY_KEYS, key)
            tx.remove(LEGACY_KEY_ISSUERS, key)


def refreshed_issuers(tx: Tx) -> list[RefreshedIssuer]:
    """The issuers whose keys the node fetches."""
    found = []
    for key, value in tx.items(JWT_ISSUERS):
        metadata = load_json(value)
        if metadata.get("auto_refresh"):
            name = metadata.get("ca_cert_bundle_name") or ""
            found.append(RefreshedIssuer(key.decode(), name, get_json(tx, TLS_CA_CERT_BUNDLES, name.encode())))
    return found


def is_refreshed(tx: Tx, issuer: str) -> bool | None:
    """Whether the node fetches the keys of `issuer`; None where there is no such issuer."""
    metadata = get_json(tx, JWT_ISSUERS, issuer.encode())
    return None if metadata is None else bool(metadata.get("auto_refresh"))


def describe_issuers(tx: Tx) -> dict[str, dict[str, object]]:
    """Issuers as `/gov/service/jwk` lists them."""
    issuers: dict[str, dict[str, object]] = {}
    for key, value in tx.items(JWT_ISSUERS):
        metadata = load_json(value)
        issuers[key.decode()] = {"autoRefresh": bool(metadata.get("auto_refresh"))}
        if metadata.get("ca_cert_bundle_name"):
            issuers[key.decode()]["caCertBundleName"] = metadata["ca_cert_bundle_name"]
    return issuers


def all_token_keys(tx: Tx) -> dict[str, Sequence[TokenKey]]:
    """Every key, by key id."""
    return {key.decode(): _parsed(value) for key, value in tx.items(JWT_PUBLIC_SIGNING_KEYS)}


def token_key_pem(key: TokenKey) -> str:
    """The public key, SPKI PEM."""
    return public_pem(key.key)


def natives(tx: Tx) -> Mapping[str, Callable[..., object]]:
    """The functions below `ccf` by which a constitution sets and removes keys (node-api.md 4.6)."""

    def set_keys(issuer: str, _metadata: object, jwks: object) -> None:
        set_signing_keys(tx, _text(issuer, "issuer"), jwks)

    def remove_keys(issuer: str) -> None:
        remove_signing_keys(tx, _text(issuer, "issuer"))

    return {"setJwtPublicSigningKeys": set_keys, "removeJwtPublicSigningKeys": remove_keys}


def url_host(url: str) -> str:
    """The host of a URL in lower case, empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} argument is not a string")
    return value


def _entries(issuer: str, jwks: object) -> dict[str, dict[str, str]]:
    """What is stored for each key id of a key set; of two keys with one id the first counts."""
    keys = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(keys, list) or not keys:
        raise InvalidKeySet("JWKS has no keys")
    entries: dict[str, dict[str, str]] = {}
    for jwk in keys:
        kid = jwk.get("kid") if isinstance(jwk, Mapping) else None
        if not isinstance(kid, str):
            raise InvalidKeySet("Missing kid for JWT signing key")
        if kid not in entries:
            entries[kid] = _entry(issuer, kid, jwk)
    return entries


def _entry(issuer: str, kid: str, jwk: Mapping[str, Any]) -> dict[str, str]:
    try:
        kid.encode()
        key = public_key_of_jwk(jwk)
    except UnicodeEncodeError as error:
        raise InvalidKeySet("JWKS has a kid that is no text") from error
    except InvalidJwk as error:
        raise InvalidKeySet(f"JWKS kid {kid}: {error}") from error
    entry = {"issuer": issuer, "public_key": b64encode(spki_der(key)).decode()}
    constraint = jwk.get("issuer")
    if constraint is None:
        return entry
    if not isinstance(constraint, str) or not _may_constrain(issuer, constraint):
        raise InvalidKeySet(
            f"JWKS kid {kid} with issuer constraint {constraint} fails validation against issuer {issuer}"
        )
    return entry | {"constraint": constraint}


def _may_constrain(issuer: str, constraint: str) -> bool:
    """An issuer vouches for its own host and for the domains above it, and for nobody else's tokens."""
    own, named = url_host(issuer), url_host(constraint)
    return bool(named) and (own == named or own.endswith(f".{named}"))


def _drop_issuer(tx: Tx, table: str, key: bytes, entries: list[Mapping[str, Any]], issuer: str) -> None:
    kept = [entry for entry in entries if entry["issuer"] != issuer]
    if not kept:
        tx.remove(table, key)
    elif len(kept) < len(entries):
        put_json(tx, table, kept, key)


@lru_cache(maxsize=1024)
def _parsed(row: bytes) -> tuple[TokenKey, ...]:
    """A row's keys; one that cannot be used verifies no token and is left out.

    Kept by the row's bytes: parsing a key costs as much as verifying with it, and a row that changes is another row.
    """
    keys = []
    for entry in json.loads(row):
        try:
            key = _stored_key(entry)
        except (InvalidJwk, ValueError):
            continue
        keys.append(TokenKey(key, entry["issuer"], entry.get("constraint")))
    return tuple(keys)


def _stored_key(entry: Mapping[str, str]) -> SigningKey:
    if "public_key" in entry:
        return load_signing_key(b64decode(entry["public_key"]))
    return public_key_of_jwk({"x5c": [entry["cert"]]})


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
