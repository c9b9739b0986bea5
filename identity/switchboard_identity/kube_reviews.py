"""Questions to the API server's two review APIs."""

from collections.abc import Mapping
from typing import Any, Protocol

from switchboard_identity.asking import ReviewFailed
from switchboard_kube import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS, ApiError, Json, Resource


class Creating(Protocol):
    """As much of an API server as a review needs."""

    async def create(self, resource: Resource, manifest: Mapping[str, Any]) -> Json:
        """Make an object; a review comes back answered. Raises ApiError."""
        ...


class KubeReviews:
    """The review APIs of one API server; whoever asks needs a role that lets it create what it asks."""

    def __init__(self, kube: Creating) -> None:
        self._kube = kube

    async def token(self, review: Json) -> Json:
        """Whose token it is. Raises ReviewFailed."""
        return await self._create(TOKEN_REVIEWS, review)

    async def access(self, review: Json) -> Json:
        """Whether a user has a right. Raises ReviewFailed."""
        return await self._create(SUBJECT_ACCESS_REVIEWS, review)

    async def _create(self, resource: Resource, review: Json) -> Json:
        try:
            return await self._kube.create(resource, review)
        except ApiError as error:
            raise ReviewFailed(str(error)) from error
