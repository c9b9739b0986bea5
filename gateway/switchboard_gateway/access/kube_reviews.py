"""Questions to the API server's two review APIs."""

from switchboard_gateway.access.guard import ReviewFailed
from switchboard_kube import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS, ApiError, Json, Kube, Resource


class KubeReviews:
    """The review APIs of one API server; the gateway's role must let it create both kinds."""

    def __init__(self, kube: Kube) -> None:
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
