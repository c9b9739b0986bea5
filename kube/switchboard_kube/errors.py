"""What an API server can refuse, as one tree of errors."""

from typing import Final


class ApiError(Exception):
    """The API server refused or could not be asked.

    status: HTTP status, 0 without an answer.  reason: the machine-readable word of the answer.  str(): its text.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class NotFound(ApiError):
    """There is no such object, or no such kind."""


class Conflict(ApiError):
    """Another writer was faster, the name is taken (reason AlreadyExists), or another field manager owns the field."""


class Invalid(ApiError):
    """The object is not valid: the text says which field and why. Trying again changes nothing."""


class Forbidden(ApiError):
    """The credentials are not good enough, or a policy or quota forbids it."""


class Gone(ApiError):
    """The resourceVersion is too old: list again."""


class Unavailable(ApiError):
    """No answer, or one that asks to come back later (5xx, 429)."""


_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: Invalid,
    422: Invalid,
}

# The reason of a Forbidden that only means that the namespace is on its way out
NAMESPACE_TERMINATING: Final = "NamespaceTerminating"

# A manifest that does not fit the schema of its kind comes back as 500 from server-side apply
_TYPED_PATCH: Final = "failed to create typed patch object"


def error_of(status: int, reason: str, message: str, retry_after_s: float | None = None) -> ApiError:
    """The error for an answer of an API server with a status of 400 or above."""
    kind = _BY_STATUS.get(status, Unavailable)
    if kind is Unavailable and _TYPED_PATCH in message:
        kind = Invalid
    return kind(status, reason, message, retry_after_s)
