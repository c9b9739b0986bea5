"""Conditions as `kubectl wait` understands them; a condition's time changes only when its status flips."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

# etcd is no log: enough for a sentence and its remedy
MAX_MESSAGE: Final = 1024


@dataclass(frozen=True, slots=True)
class Claim:
    """One condition to be told. `status` None means Unknown."""

    type: str
    status: bool | None
    reason: str
    message: str = ""


def merge_conditions(
    previous: Iterable[Mapping[str, Any]], claims: Iterable[Claim], generation: int, now: str
) -> list[dict[str, Any]]:
    """The conditions list for these claims; conditions that others added stay, behind ours."""
    before = {condition["type"]: condition for condition in previous}
    ours = [_condition(claim, before.pop(claim.type, None), generation, now) for claim in claims]
    return ours + [dict(condition) for condition in before.values()]


def clip(text: str) -> str:
    """The text, cut where status would grow."""
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _condition(claim: Claim, before: Mapping[str, Any] | None, generation: int, now: str) -> dict[str, Any]:
    status = {True: "True", False: "False", None: "Unknown"}[claim.status]
    since = before["lastTransitionTime"] if before is not None and before["status"] == status else now
    return {
        "type": claim.type,
        "status": status,
        "reason": claim.reason,
        "message": clip(claim.message),
        "lastTransitionTime": since,
        "observedGeneration": generation,
    }
