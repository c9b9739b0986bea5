"""May this user read this metric? The API server says so, and its word counts for a few seconds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from switchboard_kube import SUBJECT_ACCESS_REVIEWS, Json, Kube
from switchboard_operator.metrics_api.front_proxy import User

# An autoscaler asks every 15 s for each pool; a right that was taken away ends within this
REMEMBERED_S: Final = 10.0
# Beyond this many the oldest is asked for anew
MOST: Final = 4096

Key = tuple[User, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class Reviewer:
    """Asks by SubjectAccessReview. Answers are kept for REMEMBERED_S, refusals too."""

    kube: Kube
    now: Callable[[], float]
    _known: dict[Key, tuple[bool, float]] = field(default_factory=dict)

    async def allows(self, user: User, attributes: Json) -> bool:
        """Whether the cluster's authorization grants it; raises ApiError when nobody can say."""
        key = (user, tuple(sorted(attributes.items())))
        known = self._known.get(key)
        if known is not None and self.now() - known[1] < REMEMBERED_S:
            return known[0]
        spec: Json = {"user": user.name, "groups": list(user.groups), "resourceAttributes": attributes}
        if user.uid:
            spec["uid"] = user.uid
        if user.extra:
            spec["extra"] = {name: list(values) for name, values in user.extra}
        answer = await self.kube.create(SUBJECT_ACCESS_REVIEWS, {"metadata": {}, "spec": spec})
        allowed = bool((answer.get("status") or {}).get("allowed"))
        self._known.pop(key, None)
        self._known[key] = (allowed, self.now())
        while len(self._known) > MOST:
            del self._known[next(iter(self._known))]
        return allowed
