"""Agent ids: `type` or `type/key`, as in AutoGen."""

import re
from dataclasses import dataclass

from switchboard_wire.errors import failure
from switchboard_wire.names import MAX_NAME_LENGTH
from switchboard_wire.v1 import frames_pb2 as pb

_TYPE = re.compile(rf"[a-z](?:[-a-z0-9]{{0,{MAX_NAME_LENGTH - 2}}}[a-z0-9])?")  # DNS-1035 label, RFC 1035 2.3.1
MAX_KEY_LENGTH = 256


@dataclass(frozen=True, slots=True)
class AgentId:
    """type: the Agent. key: one conversation, document or user within it; empty: any instance may answer."""

    type: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.type}/{self.key}" if self.key else self.type


def parse_agent_id(text: str) -> AgentId:
    """Read `type` or `type/key`. Raises SwitchboardError INVALID_AGENT_ID, which says what is wrong."""
    kind, slash, key = text.partition("/")
    if not _TYPE.fullmatch(kind):
        raise failure(
            pb.INVALID_AGENT_ID,
            f"{kind[:80]!r} is no agent type: at most {MAX_NAME_LENGTH} of a-z, 0-9 and '-', beginning with a letter",
        )
    if slash and not key:
        raise failure(pb.INVALID_AGENT_ID, f"the key after {kind + '/'!r} is empty: leave the slash out or name a key")
    if len(key) > MAX_KEY_LENGTH or not key.isprintable():
        raise failure(pb.INVALID_AGENT_ID, f"the key of {kind!r} must be at most {MAX_KEY_LENGTH} printable characters")
    return AgentId(kind, key)
