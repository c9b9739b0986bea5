"""Which pods there are, as the EndpointSlices of our own Services say; with no API server, as they last said."""

import asyncio
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from switchboard_identity.identities import Member
from switchboard_kube import ENDPOINT_SLICES, EventType, Json, Kube, Selector
from switchboard_wire.names import LINKS_SERVICE, NODE_LABEL

SERVICE_LABEL: Final = "kubernetes.io/service-name"
MANAGED_BY_LABEL: Final = "endpointslice.kubernetes.io/managed-by"
# Users may write slices of their own; those of the controller follow from Services and pods
CONTROLLER: Final = "endpointslice-controller.k8s.io"

Key = tuple[str, str]


def members_of(slices: Iterable[Json], home: str) -> dict[str, Member]:
    """By UID, every pod in slices of AgentNodes' Services and of the gateway's in namespace `home`."""
    return merge_members(members_in(slice_, home) for slice_ in slices)


def merge_members(slices: Iterable[Mapping[str, Member]]) -> dict[str, Member]:
    """By UID, every pod of these slices; one that is in two has the addresses of both, of IPv4 and of IPv6."""
    found: dict[str, Member] = {}
    for members in slices:
        for uid, member in members.items():
            known = found.get(uid)
            found[uid] = member if known is None else replace(member, addresses=member.addresses | known.addresses)
    return found


def members_in(slice_: Json, home: str) -> dict[str, Member]:
    """By UID, the pods of one slice; none when it is of another Service, or a user's own."""
    metadata = slice_["metadata"]
    labels, namespace = metadata.get("labels") or {}, metadata.get("namespace", "")
    service, node = labels.get(SERVICE_LABEL), labels.get(NODE_LABEL, "")
    is_ours = bool(node) and service == node  # the Service of an AgentNode has its name
    is_gateways = not node and service == LINKS_SERVICE and namespace == home
    if labels.get(MANAGED_BY_LABEL) != CONTROLLER or not (is_ours or is_gateways):
        return {}
    return {uid: Member(namespace, node, name, uid, addresses) for uid, name, addresses in _pods(slice_)}


def _pods(slice_: Mapping[str, Any]) -> Iterable[tuple[str, str, frozenset[str]]]:
    for endpoint in slice_.get("endpoints") or ():
        target = endpoint.get("targetRef") or {}
        if target.get("kind") == "Pod" and target.get("uid"):
            yield target["uid"], target.get("name", ""), frozenset(map(plain_address, endpoint.get("addresses") or ()))


def plain_address(text: str) -> str:
    """An IP address in its one form, IPv4 in IPv6 unwrapped; other text as it is."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def address_of_peer(peer: str) -> str:
    """The address in what grpc calls a peer: `ipv4:10.0.0.1:5000`, `ipv6:%5Bfd00::1%5D:5000`; else empty."""
    family, _, rest = peer.partition(":")
    if family not in ("ipv4", "ipv6"):
        return ""
    host = rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")
    return plain_address(host.partition("%")[0])


class Membership:
    """The pods known now. on_change: called after each update."""

    def __init__(self) -> None:
        self._members: Mapping[str, Member] = {}
        self._news = asyncio.Event()
        self.is_known = False  # there was an update
        self.on_change: list[Callable[[], None]] = []

    def update(self, members: Mapping[str, Member]) -> None:
        """Take what there is now."""
        self.is_known = True
        if members == self._members:
            return
        self._members = members
        self._news.set()
        self._news = asyncio.Event()
        for changed in self.on_change:
            changed()

    def find(self, pod_uid: str) -> Member | None:
        return self._members.get(pod_uid)

    async def wait_for(self, pod_uid: str, timeout_s: float) -> Member | None:
        """The pod, as soon as it is listed; None when it is not by then."""
        try:
            async with asyncio.timeout(timeout_s):
                while (member := self.find(pod_uid)) is None:
                    await self._news.wait()
                return member
        except TimeoutError:
            return None


async def follow_members(kube: Kube, membership: Membership, namespaces: tuple[str, ...], home: str) -> None:
    """Keep the membership by watches of its own, for ever. namespaces: empty for all."""
    slices: dict[Key, dict[str, Member]] = {}  # read once, for thousands of pods may be in the others
    unsynced = {(namespace, NODE_LABEL) for namespace in namespaces or ("",)} | {
        (home, f"{SERVICE_LABEL}={LINKS_SERVICE}")
    }

    async def watch(namespace: str, labels: str) -> None:
        async for event in kube.watch(ENDPOINT_SLICES, Selector(namespace or None, labels)):
            if event.type is EventType.SYNCED:
                unsynced.discard((namespace, labels))
            else:
                metadata = event.object["metadata"]
                key = (metadata.get("namespace", ""), metadata["name"])
                if event.type is EventType.APPLIED:
                    slices[key] = members_in(event.object, home)
                else:
                    slices.pop(key, None)
            if not unsynced:
                membership.update(merge_members(slices.values()))

    async with asyncio.TaskGroup() as group:
        for namespace, labels in list(unsynced):
            group.create_task(watch(namespace, labels))
