"""How a call is to be made, and the OPEN that says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

from switchboard_wire.agent_id import AgentId, parse_agent_id
from switchboard_wire.errors import failure
from switchboard_wire.v1 import frames_pb2 as pb

CAPABILITY_PREFIX = "capability:"


@dataclass(frozen=True, slots=True)
class Topic:
    """Every agent that is subscribed; source: the key under which each gets its copy."""

    name: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class EveryInstance:
    """Every instance of an agent."""

    agent: AgentId


Target = str | AgentId | Topic | EveryInstance


class CallOptions(TypedDict, total=False):
    """Options of one call; all may be left out."""

    method: str  # for handlers that offer several
    timeout_s: float  # the Agent's timeoutSeconds when left out
    headers: Mapping[str, str]
    key: str  # keeps one conversation, document or user together; also `type/key` in the target
    idempotent: bool  # may be delivered twice, so it is tried again when an instance is lost
    idempotency_key: str  # suppresses duplicates on one instance; implies idempotent
    priority: int  # higher goes first; 0 is normal
    strategy: str  # a balancing strategy for this call alone
    conversation_id: str
    namespace: str
    traceparent: str
    ack: Literal["handled", "accepted"]  # of `send`: the handler finished, or an instance took it


def build_target(target: Target, options: CallOptions) -> pb.Target:
    """The target of `type`, `type/key`, `capability:NAME`, a topic or all instances. Raises InvalidAgentId."""
    key = options.get("key", "")
    namespace = options.get("namespace", "")
    if isinstance(target, Topic):
        if not target.name:
            raise failure(pb.INVALID_AGENT_ID, "the topic is empty: name one")
        return pb.Target(namespace=namespace, topic=target.name, topic_source=target.source or key)
    if isinstance(target, EveryInstance):
        one = build_target(target.agent, options)
        one.all_instances = True
        return one
    if isinstance(target, str):
        if target.startswith(CAPABILITY_PREFIX):
            name = target.removeprefix(CAPABILITY_PREFIX)
            if not name:
                raise failure(pb.INVALID_AGENT_ID, f"{target!r} names no capability: write capability:NAME")
            return pb.Target(namespace=namespace, capability=name, key=key)
        target = parse_agent_id(target)
    if key and target.key and key != target.key:
        raise failure(pb.INVALID_AGENT_ID, f"two keys are given, {target.key!r} in the target and {key!r} beside it")
    return pb.Target(namespace=namespace, type=target.type, key=key or target.key)


def fill_open(opened: pb.Open, target: Target, options: CallOptions) -> None:
    """Write the target and the options into an OPEN; what is set in it and not in the options stays."""
    opened.target.CopyFrom(build_target(target, options))
    for name in ("method", "idempotent", "idempotency_key", "priority", "strategy", "conversation_id", "traceparent"):
        if name in options:
            setattr(opened, name, options[name])
    if options.get("idempotency_key"):
        opened.idempotent = options.get("idempotent", True)
    timeout_s = options.get("timeout_s")
    if timeout_s is not None:
        opened.deadline_ms = deadline_ms(timeout_s)
    headers = options.get("headers")
    if headers:
        opened.headers.update(headers)
    if options.get("ack") == "accepted":
        opened.ack = pb.ACK_ACCEPTED


def deadline_ms(timeout_s: float) -> int:
    """The wire's milliseconds; at least 1, because 0 there means that none is set."""
    if timeout_s <= 0:
        raise ValueError(f"timeout_s is {timeout_s}: say a time above 0")
    return max(1, int(timeout_s * 1000))
