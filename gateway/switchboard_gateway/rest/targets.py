"""What the path and the query of a request say: whom its message is for. Pure but for new ids."""

import os
from collections.abc import Mapping
from typing import Final

from switchboard_gateway.rest.json_body import invalid, is_text
from switchboard_wire.v1 import frames_pb2 as pb

_NOT_TEXT: Final = "the path or the query is not UTF-8"
# What may follow a path, by the name in it that says whom the message is for
QUERY: Final[Mapping[str, tuple[str, ...]]] = {
    "agent": ("key", "method", "instances"),
    "capability": ("key", "method", "version"),
    "topic": ("source",),
}
_FIELDS: Final = {"agent": "type", "capability": "capability", "topic": "topic"}


def new_message_id() -> str:
    return os.urandom(16).hex()


def opened_to_many(opened: pb.Open) -> bool:
    """Whether the call's answer is what came of each receiver."""
    return bool(opened.target.topic) or opened.target.all_instances


def apply_target(found: Mapping[str, str], query: Mapping[str, str], opened: pb.Open) -> None:
    """Set target and method of a call. found: the names in the path, one of QUERY among them. Raises SwitchboardError.

    query: of a name that is given twice, the first value counts.
    """
    place = next(name for name in QUERY if name in found)
    if not all(is_text(word) for word in found.values()):
        raise invalid(_NOT_TEXT)
    target = opened.target
    target.namespace = found.get("namespace", "")
    setattr(target, _FIELDS[place], found[place])
    if query:
        _read_query(dict(query), QUERY[place], opened)


def _read_query(query: Mapping[str, str], known: tuple[str, ...], opened: pb.Open) -> None:
    """Set what the query says of a call, where only known parameters may be. Raises SwitchboardError."""
    for name in query:
        if name not in known:
            raise invalid(f"the query parameter {name[:80]!a} is not known: {', '.join(known)} may be given")
    if not all(is_text(word) for word in query.values()):
        raise invalid(_NOT_TEXT)
    instances = query.get("instances", "")
    if instances not in ("", "all"):
        raise invalid("instances: say all, or leave it out for the one that balancing chooses")
    opened.method = query.get("method", "")
    target = opened.target
    target.key = query.get("key", "")
    target.version_range = query.get("version", "")
    target.topic_source = query.get("source", "")
    target.all_instances = instances == "all"
