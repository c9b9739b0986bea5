"""Which Agents a target can reach, and so which rights a call needs. Pure."""

from collections.abc import Collection
from typing import NamedTuple

from switchboard_gateway.access.rights import INVOKE, Right
from switchboard_gateway.instances import Table
from switchboard_wire.agent_id import parse_agent_id
from switchboard_wire.errors import SwitchboardError, failure
from switchboard_wire.v1 import frames_pb2 as pb

Key = tuple[str, str]  # namespace, name of an Agent


class Reach(NamedTuple):
    """rights: one for each Agent that can get the call. is_known: False for a type that no Agent has.

    Who asks for a type that is not there needs the right to it too: without it nobody learns what there is.
    """

    rights: tuple[Right, ...]
    is_known: bool


def reach_of(table: Table, target: pb.Target, namespace: str, verb: str = INVOKE) -> Reach:
    """What a target reaches. namespace: of a target that names none. Raises SwitchboardError INVALID_AGENT_ID."""
    place, type_ = target.namespace or namespace, target.type
    if target.topic:
        subscribers = table.declared.subscribers(place, target.topic)
        return Reach(tuple([Right(verb, place, policy.name) for policy in subscribers]), is_known=True)
    if type_:
        routes = table.by_type.get((place, type_))
        if routes is None:
            parse_agent_id(type_)
            return Reach((Right(verb, place, type_),), is_known=False)
    else:
        routes = table.by_capability.get((place, target.capability), [])
    if len(routes) == 1:
        return Reach((Right(verb, place, routes[0].policy.name),), is_known=True)
    return Reach(tuple([Right(verb, place, route.policy.name) for route in routes]), is_known=bool(routes))


def keys_of(rights: Collection[Right]) -> frozenset[Key]:
    """The Agents that some rights are about."""
    return frozenset([(right.namespace, right.name) for right in rights])


def unknown(target: pb.Target, namespace: str) -> SwitchboardError:
    """The error of a target that nothing answers to; it does not list what else there is."""
    place = target.namespace or namespace
    if target.type:
        return failure(pb.AGENT_NOT_FOUND, f"no Agent of type {target.type[:80]!r} in namespace {place!r}")
    if not target.capability:
        return failure(pb.INVALID_AGENT_ID, "target: name a type, a capability or a topic")
    return failure(pb.AGENT_NOT_FOUND, f"no Agent in {place!r} has the capability {target.capability[:80]!r}")
