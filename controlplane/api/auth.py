"""A bearer token becomes a principal (control-plane.md 5.3, 401).

Every principal of the tenant may do everything: this release has no role assignments.
"""

from datetime import datetime

from controlplane.errors import ArmError
from controlplane.issuer.tokens import InvalidToken, Issuer, Principal


def authenticate(authorization: str | None, issuer: Issuer, login_url: str, now: datetime) -> Principal:
    """The caller named by an `Authorization` header. Raises a 401 that says where tokens come from."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        message = "Authentication failed. The 'Authorization' header is missing or is not a bearer token."
        raise _refused("AuthenticationFailed", message, issuer, login_url)
    try:
        return issuer.verify(token.strip(), now)
    except InvalidToken as error:
        raise _refused(error.code, str(error), issuer, login_url) from error


def _refused(code: str, message: str, issuer: Issuer, login_url: str) -> ArmError:
    challenge = (
        f'Bearer authorization_uri="{login_url}/{issuer.tenant_id}", error="invalid_token", '
        f'error_description="{message}"'
    )
    return ArmError(401, code, message, headers={"WWW-Authenticate": challenge})
