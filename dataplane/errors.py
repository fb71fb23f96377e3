"""The errors a node answers with: HTTP status and stable code (node-api.md 1.6).

Codes are contract; messages are not, save the fragments node-api.md 1.8 pins. `details` are further entries of the
error body. Rare pairs use `RpcError`; an error that several places raise has a class of its own.
"""

from collections.abc import Mapping, Sequence

Detail = Mapping[str, object]


class CcfError(Exception):
    """An answer with `{"error": {"code", "message", "details"?}}` and the status of its class."""

    status = 500
    code = "InternalError"

    def __init__(self, message: str, *, details: Sequence[Detail] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)


class RpcError(CcfError):
    """An error whose status and code are given by the caller."""

    def __init__(self, status: int, code: str, message: str, *, details: Sequence[Detail] = ()) -> None:
        super().__init__(message, details=details)
        self.status = status
        self.code = code


class InternalError(CcfError):
    """The node could not do its part."""


class InvalidInput(CcfError):
    """The request body is not what the endpoint takes."""

    status, code = 400, "InvalidInput"


class InvalidQueryParameterValue(CcfError):
    """A query parameter is missing or out of range."""

    status, code = 400, "InvalidQueryParameterValue"


class InvalidResourceName(CcfError):
    """An id in the URL is malformed, or differs from the one that was signed."""

    status, code = 400, "InvalidResourceName"


class InvalidHeaderValue(CcfError):
    """A header cannot be read."""

    status, code = 400, "InvalidHeaderValue"


class InvalidAuthenticationInfo(CcfError):
    """No authentication policy of the endpoint was met."""

    status, code = 401, "InvalidAuthenticationInfo"


class AuthorizationFailed(CcfError):
    """The caller is known and may not do this."""

    status, code = 403, "AuthorizationFailed"


class ResourceNotFound(CcfError):
    """Nothing is there."""

    status, code = 404, "ResourceNotFound"


class ProposalNotFound(CcfError):
    """No proposal has this id."""

    status, code = 404, "ProposalNotFound"


class VoteNotFound(CcfError):
    """This member submitted no ballot for the proposal."""

    status, code = 404, "VoteNotFound"


class FrontendNotOpen(CcfError):
    """The frontend does not serve requests yet."""

    status, code = 404, "FrontendNotOpen"
