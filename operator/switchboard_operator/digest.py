"""Whether an object is as it should be: digests of what was applied, and what a server's copy must still say."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

# 64 bits: two different manifests of one child meet by chance once in 10^19
_LENGTH = 16


def digest_of(value: Any) -> str:
    """A short digest of JSON data that does not depend on the order of members."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def covers(live: Any, wanted: Any) -> bool:
    """Whether `live` says all that `wanted` says; what others or the API server's defaults added does not count.

    Items of lists are matched by `name`, as server-side apply does, or else by their places.
    """
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(key in live and covers(live[key], wanted[key]) for key in wanted)
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return isinstance(live, Sequence) and not isinstance(live, str) and _covers_items(live, wanted)
    return bool(live == wanted)


def _covers_items(live: Sequence[Any], wanted: Sequence[Any]) -> bool:
    if wanted and all(isinstance(item, Mapping) and "name" in item for item in wanted):
        by_name = {item.get("name"): item for item in live if isinstance(item, Mapping)}
        return all(item["name"] in by_name and covers(by_name[item["name"]], item) for item in wanted)
    return len(live) == len(wanted) and all(covers(a, b) for a, b in zip(live, wanted, strict=True))
