"""JSON answers and ARM error bodies, in one place: never HTML, never a framework's own shape (control-plane.md 5.1)."""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from controlplane.errors import ArmError, ErrorDetail

MAX_DETAILS = 50
MAX_BODY_BYTES = 4 * 1024 * 1024


class ArmJson(JSONResponse):
    media_type = "application/json; charset=utf-8"


# Stands for a body that is no JSON until the checks that come before the body have been made. No JSON text that is
# accepted can hold it, because of the unpaired surrogate; and no model accepts a string for a body.
NOT_JSON = "not JSON \udcff"


def error_answer(error: ArmError) -> ArmJson:
    headers = {"x-ms-error-code": error.code} | dict(error.headers)
    return ArmJson({"error": error.as_json()}, error.status, headers)


def invalid_body(error: RequestValidationError) -> ArmError:
    """One 400 for everything a model did not accept. What was sent is never quoted: it may hold a secret."""
    details = tuple(_detail(problem) for problem in error.errors()[:MAX_DETAILS])
    if len(details) == 1:
        return ArmError(400, details[0].code, details[0].message, details[0].target)
    message = "The request content has several errors; see details."
    return ArmError(400, "InvalidRequestContent", message, None, details)


def http_error(error: HTTPException) -> ArmError:
    """What the framework itself refuses, in ARM's words."""
    if error.status_code == 405:
        headers = dict(error.headers or {})
        return ArmError(405, "MethodNotAllowed", "The resource does not support this method.", headers=headers)
    if error.status_code == 413:
        return too_large()
    if error.status_code == 400:
        return ArmError(400, "InvalidRequestContent", "The request content could not be read.")
    return ArmError(error.status_code, "ResourceNotFound", "Nothing is served at this path.")


def too_large() -> ArmError:
    return ArmError(413, "RequestContentTooLarge", f"The request content has more than {MAX_BODY_BYTES} bytes.")


def _detail(problem: Mapping[str, Any]) -> ErrorDetail:
    place, *path = problem["loc"]
    if place == "query":
        return ErrorDetail("InvalidParameter", f"The query parameter is invalid: {problem['msg']}.", str(path[0]))
    if problem.get("input") == NOT_JSON:
        return ErrorDetail("InvalidRequestContent", "The request content is not valid JSON.")
    target = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return ErrorDetail("InvalidRequestContent", f"The request content is invalid: {problem['msg']}.", target or None)
