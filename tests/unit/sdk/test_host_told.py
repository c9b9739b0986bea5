"""What a host tells of its agents: all that happens within a moment in one word."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest
from lone_host import LoneSidecar

from switchboard.host import process
from switchboard.host.deployment import Deployment, HostSettings
from switchboard.host.process import Host
from switchboard.host.serving import Serving
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb


async def test_a_thousand_agents_that_load_are_told_in_two_words(monkeypatch: pytest.MonkeyPatch) -> None:
    host, peer = Host("unix:/nowhere", HostSettings(Path(), (), False)), Peer(LoneSidecar(Serving()), dialled=True)
    monkeypatch.setattr(host, "_connection", SimpleNamespace(peer=peer))
    for _ in range(1000):
        host._on_change()
    assert len(peer.outbox) == 1
    async with asyncio.timeout(60):
        while host._gathering is not None:
            await asyncio.sleep(0.01)
    assert len(peer.outbox) == 2


async def test_once_all_that_was_assigned_is_there_it_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    host, peer = Host("unix:/nowhere", HostSettings(Path(), (), False)), Peer(LoneSidecar(Serving()), dialled=True)
    monkeypatch.setattr(host, "_connection", SimpleNamespace(peer=peer))
    told: list[int] = []

    async def apply(_: Deployment, __: pb.Assignments) -> bool:
        for _ in range(3):
            host._on_change()
        told.append(len(peer.outbox))
        return True

    monkeypatch.setattr(Deployment, "apply", apply)
    monkeypatch.setattr(
        process.log, "info", lambda text, **_: told.append(len(peer.outbox)) if "applied" in text else None
    )
    host.on_control(peer, pb.Frame(kind=pb.ASSIGN, assignments=pb.Assignments()))
    deploying = asyncio.create_task(host._deploy())
    async with asyncio.timeout(60):
        while len(told) < 2:
            await asyncio.sleep(0)
    deploying.cancel()
    assert told == [1, 2]
