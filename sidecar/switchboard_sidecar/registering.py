"""Which of the agents that code registers may be hosted here, and why not. Pure."""

import re
from typing import Final

from switchboard_wire.agent_id import parse_agent_id
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.names import MAX_NAME_LENGTH
from switchboard_wire.v1 import frames_pb2 as pb

# Agents that code may register in one host: they are announced to every gateway, and are values of a metrics label
MAX_DYNAMIC: Final = 200
# Refused ones are told to people, who read the first few
MAX_REFUSED: Final = 16
# In the name under which a refused agent is told: its own may be no name at all
INVALID: Final = "invalid-"


def is_agent_type(text: str) -> bool:
    """Whether it may be the type of an agent."""
    try:
        return parse_agent_id(text).key == ""
    except SwitchboardError:
        return False


def judge_registered(
    assignments: pb.Assignments, said: pb.Hosted
) -> tuple[dict[str, pb.Assignment], dict[str, pb.HostedAgent]]:
    """What a host registers beyond its assignments: assignments for what it may host, and the refused, by name."""
    declared = {agent.type for agent in assignments.agents}
    names = {agent.name or agent.type: agent.type for agent in assignments.agents}
    reserved = frozenset(assignments.reserved)
    accepted: dict[str, pb.Assignment] = {}
    refused: dict[str, pb.HostedAgent] = {}
    for agent in said.agents:
        name = agent.name or agent.type
        if agent.type in declared or name in accepted:
            continue
        if reason := _why_not(agent.type, names.get(name), is_reserved=agent.type in reserved, count=len(accepted)):
            if len(refused) < MAX_REFUSED:
                shown = _shown(name, is_taken=name in names)
                refused[shown] = pb.HostedAgent(name=shown, state=pb.HOSTED_FAILED, message=reason)
        else:
            accepted[name] = pb.Assignment(name=name, type=agent.type, version=agent.version)
    return accepted, refused


def _why_not(type_: str, holder: str | None, *, is_reserved: bool, count: int) -> str:
    if not is_agent_type(type_):
        return (
            f"code registers {type_[:64]!r}, which is no agent type: at most {MAX_NAME_LENGTH} lower-case letters, "
            "digits and '-', a letter first and no '-' last"
        )
    if is_reserved:
        return (
            f"code registers {type_!r}, which an Agent of this namespace declares for another AgentNode: "
            "register another type, or bind that Agent to this AgentNode"
        )
    if holder is not None:
        return (
            f"code registers {type_!r}, which is the name of the Agent of type {holder!r} here: register another type"
        )
    if count >= MAX_DYNAMIC:
        return f"code registers more than {MAX_DYNAMIC} agents: declare some of them, or use more AgentNodes"
    return ""


def _shown(name: str, *, is_taken: bool) -> str:
    """A name that status can hold, beside those of the Agents here."""
    if is_agent_type(name) and not is_taken:
        return name
    words = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{INVALID}{words}"[:MAX_NAME_LENGTH].rstrip("-")
