"""How a client gets a token: the client credentials grant, and the applications that may use it.

An application's secret is 256 random bits, shown once in a 0600 file; the database keeps a salted scrypt hash.
Errors are the token endpoint's own (RFC 6749 5.2, with the codes that `az` prints; control-plane.md 6.2).
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import unquote_plus

from sqlalchemy.orm import Session

from controlplane.issuer.tokens import Issuer
from controlplane.settings import Settings, write_private
from controlplane.store import queries
from controlplane.store.session import Database
from controlplane.store.tables import Principal

FIRST_PRINCIPAL = "first principal"
_DEFAULT_SCOPE_SUFFIX = "/.default"
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}


class GrantError(Exception):
    """A refused token request: HTTP status, OAuth error, AADSTS number and a description without secrets."""

    def __init__(self, status: int, error: str, number: int, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.error = error
        self.number = number
        self.description = f"AADSTS{number}: {description}"


def grant(
    session: Session, issuer: Issuer, form: Mapping[str, str], authorization: str | None, now: datetime
) -> dict[str, object]:
    """Answer a token request; `form` holds the first value of each parameter. Raises `GrantError`."""
    kind = form.get("grant_type")
    if not kind:
        raise GrantError(400, "invalid_request", 900144, "The request body must contain the parameter 'grant_type'.")
    if kind != "client_credentials":
        raise GrantError(
            400, "unsupported_grant_type", 70003, "This issuer offers the grant 'client_credentials' only."
        )
    principal = _authenticate(session, *_credentials(form, authorization))
    audience = issuer.served_audience(_resource(form))
    if audience is None:
        raise GrantError(400, "invalid_resource", 500011, "The requested resource is not served by this tenant.")
    token = issuer.access_token(app_id=principal.app_id, object_id=principal.object_id, audience=audience, now=now)
    lifetime_s = issuer.lifetime_s - 1
    return {"token_type": "Bearer", "expires_in": lifetime_s, "ext_expires_in": lifetime_s, "access_token": token}


def ensure_first_principal(database: Database, settings: Settings, now: datetime) -> bool:
    """Make the installation's first application, and its credentials file (0600), unless one exists already.

    The file is written before the row: a crash between the two leaves a file that the next start overwrites, never
    an application whose secret nobody has.
    """
    with database.write() as session:
        if queries.principal_count(session):
            return False
        app_id, secret = queries.new_id(), secrets.token_urlsafe(32)
        credentials = {
            "tenant_id": settings.tenant_id,
            "client_id": app_id,
            "client_secret": secret,
            "subscription_id": settings.subscription_id,
            "authority": settings.base_url,
            "ca_file": str(settings.ca_file),
        }
        write_private(settings.credentials_file, json.dumps(credentials, indent=2) + "\n")
        add_principal(session, app_id, secret, FIRST_PRINCIPAL, now)
        return True


def add_principal(session: Session, app_id: str, secret: str, display_name: str, now: datetime) -> None:
    """Register an application; only the hash of `secret` is kept."""
    salt = secrets.token_bytes(16)
    session.add(
        Principal(
            app_id=app_id,
            object_id=queries.new_id(),
            display_name=display_name,
            secret_salt=salt.hex(),
            secret_hash=_hash(secret, salt),
            created_at=now,
        )
    )


def _authenticate(session: Session, app_id: str, secret: str) -> Principal:
    principal = queries.principal(session, app_id.lower())
    if principal is None:
        raise GrantError(401, "invalid_client", 700016, "The application was not found in this tenant.")
    if not hmac.compare_digest(_hash(secret, bytes.fromhex(principal.secret_salt)), principal.secret_hash):
        raise GrantError(401, "invalid_client", 7000215, "Invalid client secret provided.")
    return principal


def _credentials(form: Mapping[str, str], authorization: str | None) -> tuple[str, str]:
    """Client id and secret from the form or from HTTP Basic (RFC 6749 2.3.1)."""
    if authorization and authorization.lower().startswith("basic "):
        try:
            text = base64.b64decode(authorization[6:], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise GrantError(401, "invalid_client", 7000216, "The Authorization header cannot be read.") from error
        client, _, secret = text.partition(":")
        return unquote_plus(client), unquote_plus(secret)
    if not form.get("client_id"):
        raise GrantError(400, "invalid_request", 900144, "The request body must contain the parameter 'client_id'.")
    if not form.get("client_secret"):
        raise GrantError(
            401, "invalid_client", 7000216, "'client_secret' is required for the client_credentials grant."
        )
    return form["client_id"], form["client_secret"]


def _resource(form: Mapping[str, str]) -> str:
    """What the token is for: `resource`, or the one scope that ends in `/.default`."""
    if form.get("resource"):
        return form["resource"]
    for scope in form.get("scope", "").split():
        if scope.endswith(_DEFAULT_SCOPE_SUFFIX):
            return scope.removesuffix(_DEFAULT_SCOPE_SUFFIX)
    raise GrantError(400, "invalid_scope", 1002012, "The scope must be the resource followed by '/.default'.")


def _hash(secret: str, salt: bytes) -> str:
    return hashlib.scrypt(secret.encode(), salt=salt, **_SCRYPT).hex()
