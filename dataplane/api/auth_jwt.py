"""Callers known by a JSON Web Token in the `authorization` header (node-api.md 3.2)."""

from functools import lru_cache
from urllib.parse import urlsplit

from dataplane.api.policy import Clock, NotMet, Peer
from dataplane.apps.endpoint import Identity, Request, Token
from dataplane.crypto.jwt import InvalidToken, ParsedToken, is_signed_by, parse_token
from dataplane.governance.jwt import TokenKey, token_keys, url_host
from dataplane.kv.tx import Tx

JWT_CHALLENGE = 'Bearer realm="JWT bearer token access", error="invalid_token"'

_ENTRA = "login.microsoftonline.com"
_TENANT = "{tenantid}"


def bearer(tx: Tx, request: Request, peer: Peer, now: Clock) -> Identity:
    """The policy `jwt`: a token that one of the keys stored for its key id signed, valid now and from its issuer."""
    token = _parsed(_bearer_token(request))
    keys = token_keys(tx, token.kid)
    if not keys:
        raise NotMet(f"JWT signing key not found for kid {token.kid}")
    reason = ""
    for key in keys:
        refusal = _refusal(token, key, int(now().timestamp()))
        if refusal is None:
            return Identity("jwt", jwt=Token(key.issuer, token.header, token.payload))
        reason = refusal
    raise NotMet(reason)


def meets_constraint(issuer: str, tenant: str | None, constraint: str) -> bool:
    """Whether a token's `iss` and `tid` are what the issuer of its key vouches for.

    Keys of Microsoft Entra serve many tenants: the tenant a token names must be the one in its `iss`. Nobody else's
    tokens name a tenant.
    """
    if url_host(constraint) != _ENTRA:
        return issuer == constraint and tenant is None
    if tenant is None or issuer != constraint.replace(_TENANT, tenant, 1):
        return False
    try:
        segments = urlsplit(issuer).path.split("/")
    except ValueError:
        return False
    return tenant == next((segment for segment in segments if segment), None)


def _bearer_token(request: Request) -> str:
    value = request.headers.get("authorization")
    if value is None:
        raise NotMet("Missing authorization header")
    scheme, separator, token = value.partition(" ")
    if not separator:
        raise NotMet("Authorization header only contains one field")
    if scheme != "Bearer":
        raise NotMet("Authorization header does not have Bearer scheme")
    return token


@lru_cache(maxsize=256)
def _parsed(text: str) -> ParsedToken:
    try:
        return parse_token(text)
    except InvalidToken as error:
        raise NotMet(str(error)) from error


def _refusal(token: ParsedToken, key: TokenKey, now_s: int) -> str | None:
    """Why `key` does not make the token its bearer's credential, None where it does."""
    if not is_signed_by(token, key.key):
        return "Signature verification failed"
    if token.not_before_s is not None and now_s < token.not_before_s:
        return f"Current time {now_s} is before token's Not Before (nbf) claim {token.not_before_s}"
    if now_s > token.expires_s:
        return f"Current time {now_s} is after token's Expiration Time (exp) claim {token.expires_s}"
    if key.constraint is not None and not meets_constraint(token.issuer, token.tenant, key.constraint):
        return f"Kid {token.kid} failed issuer constraint validation {key.constraint}"
    return None
