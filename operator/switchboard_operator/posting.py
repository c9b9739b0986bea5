"""Events for people, on transitions alone: `kubectl describe` and `kubectl events` show them."""

import datetime
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from switchboard_kube import EVENTS, NAMESPACE_TERMINATING, ApiError, Kube
from switchboard_operator import metrics
from switchboard_operator.objects import Resource
from switchboard_wire import names

log = logging.getLogger(__name__)

MAX_NOTE: Final = 1024
# A condition that is False since then has never been anything else: status is first written at once
BEGINNING_S: Final = 60.0
# A False for these reasons is a beginning, or what the user asked for
_WAITS: Final = frozenset({"Creating", "RollingOut", "NoReadyInstance", "InstancesNotReady"})
_QUIET: Final = _WAITS | {"Complete", "Paused", "NotAccepted", "Unresolved"}


def is_news(before: Mapping[str, Any] | None, condition: Mapping[str, Any]) -> bool:
    """Whether people should hear of a condition: a flip, new trouble, or the first time that something is ready."""
    trouble = condition["status"] == "False" and condition["reason"] not in _QUIET
    if before is None:
        return trouble or (condition["type"] == "Ready" and condition["status"] == "True")
    if before["status"] != condition["status"]:
        # Progressing turns with every change of a pool, which the Deployment's own Events tell
        return trouble or condition["type"] != "Progressing"
    return trouble and before.get("reason") != condition["reason"]


def is_beginning(agent: Resource, before: Mapping[str, Any] | None, condition: Mapping[str, Any]) -> bool:
    """Whether an Agent is ready for the first time, as was to be expected: its condition says so, and of thousands that
    come at once nobody reads as many Events."""
    if agent.kind != names.AGENT or condition["status"] != "True" or condition["type"] != "Ready":
        return False
    if before is None:
        return True
    if before["status"] == "True":
        return False
    if before.get("reason") not in _WAITS:
        return False
    since, created = (_seconds(text) for text in (before.get("lastTransitionTime", ""), agent.meta.created))
    return since is not None and created is not None and since - created <= BEGINNING_S


def _seconds(text: str) -> float | None:
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def event_of(regarding: Resource, condition: Mapping[str, Any], utc_now: str, identity: str) -> dict[str, Any]:
    """The Event for a condition that has flipped."""
    meta = regarding.meta
    bad = condition["status"] == "False" and condition["reason"] not in _QUIET
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{meta.name[:200]}.{uuid.uuid4().hex[:16]}", "namespace": meta.namespace},
        "eventTime": utc_now,
        "reportingController": names.FIELD_MANAGER,
        "reportingInstance": identity[:128],
        "action": "Reconcile",
        "type": "Warning" if bad else "Normal",
        "reason": condition["reason"],
        "note": f"{condition['type']}={condition['status']}: {condition['message'] or condition['reason']}"[:MAX_NOTE],
        "regarding": {
            "apiVersion": names.API_VERSION,
            "kind": regarding.kind,
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
        },
    }


class Poster:
    """Posts Events; one that cannot be posted is lost, as Events may be."""

    def __init__(self, kube: Kube, identity: str, utc_now: Callable[[], str]) -> None:
        self._kube, self._identity, self._utc_now = kube, identity, utc_now

    async def tell(self, regarding: Resource, condition: Mapping[str, Any]) -> None:
        """Post the Event of a condition that has flipped."""
        try:
            await self._kube.create(EVENTS, event_of(regarding, condition, self._utc_now(), self._identity))
            metrics.WRITES.labels("create", EVENTS.kind).inc()
        except ApiError as error:
            expected = error.reason == NAMESPACE_TERMINATING
            log.log(logging.DEBUG if expected else logging.INFO, "event not posted: %s", error)
