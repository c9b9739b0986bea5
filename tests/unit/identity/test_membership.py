"""Who belongs to the installation, by EndpointSlices."""

import asyncio

import pytest
from identity_fakes import gateway_slice, pod_slice

from switchboard_identity.identities import Member
from switchboard_identity.membership import (
    MANAGED_BY_LABEL,
    SERVICE_LABEL,
    Membership,
    address_of_peer,
    members_of,
)

HOME = "switchboard-system"
POD = ("writers-1", "uid-1", "10.0.0.1")


def test_pods_of_an_agent_nodes_service_are_members() -> None:
    found = members_of([pod_slice("writers", POD)], HOME)
    assert found == {"uid-1": Member("team", "writers", "writers-1", "uid-1", frozenset({"10.0.0.1"}))}


def test_a_pod_has_the_addresses_of_all_its_slices() -> None:
    found = members_of([pod_slice("writers", POD), pod_slice("writers", ("writers-1", "uid-1", "FD00::1"))], HOME)
    assert found["uid-1"].addresses == {"10.0.0.1", "fd00::1"}


def test_gateways_are_members_of_their_own_kind() -> None:
    found = members_of([gateway_slice(("gateway-1", "uid-g", "10.0.0.9"))], HOME)
    assert found["uid-g"].is_gateway


@pytest.mark.parametrize(
    "slice_",
    [
        pytest.param(pod_slice("writers", POD, labels={MANAGED_BY_LABEL: "somebody"}), id="written by a user"),
        pytest.param(pod_slice("writers", POD, labels={SERVICE_LABEL: "mine"}), id="of another Service with the label"),
        pytest.param(gateway_slice(POD, namespace="team"), id="of a Service of the gateways' name elsewhere"),
    ],
)
def test_nobody_is_a_member_by_a_slice(slice_: dict[str, object]) -> None:
    assert members_of([slice_], HOME) == {}


async def test_a_pod_that_is_listed_soon_is_waited_for() -> None:
    membership = Membership()
    waiting = asyncio.create_task(membership.wait_for("uid-1", 60))
    await asyncio.sleep(0)
    membership.update(members_of([pod_slice("writers", ("other", "uid-2", "10.0.0.2"))], HOME))
    await asyncio.sleep(0)
    membership.update(members_of([pod_slice("writers", POD)], HOME))
    found = await waiting
    assert found is not None
    assert found.pod == "writers-1"


async def test_a_pod_that_is_not_listed_is_not_waited_for_for_ever() -> None:
    assert await Membership().wait_for("uid-1", 0.01) is None


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.1:5000", "10.0.0.1"),
        ("ipv6:%5Bfd00::1%5D:5000", "fd00::1"),
        ("ipv6:[fd00::1]:5000", "fd00::1"),
        ("ipv6:%5B::ffff:10.0.0.1%5D:5000", "10.0.0.1"),
        ("unix:/run/x.sock", ""),
        ("", ""),
    ],
)
def test_the_address_of_a_peer_is_read(peer: str, address: str) -> None:
    assert address_of_peer(peer) == address
