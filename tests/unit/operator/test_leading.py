"""A leader whose renewal is late may not write for a moment, and goes on with all that it knew."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from operator_objects import make_child, make_node

from switchboard_kube.testing import FakeKube
from switchboard_operator import app
from switchboard_operator.app import Operator
from switchboard_operator.assignments import build_assignments, write_assignments
from switchboard_operator.objects import CONFIG_MAP
from switchboard_operator.settings import read_settings
from switchboard_wire import names

NODE = (names.AGENT_NODE, "ns", "writers")


@pytest.fixture
async def late() -> AsyncIterator[Operator]:
    """It has led, and its last renewal is too long ago to write now."""
    operator = Operator(read_settings({names.ENV_TLS: "off"}), FakeKube())
    operator._elector._tell(True)
    assert operator._elector.holds
    assert not operator._elector.leads
    yield operator
    operator._elector._tell(False)
    async with asyncio.timeout(60):
        while operator._pokes._jobs:
            await asyncio.sleep(0.01)


async def test_a_listing_that_ends_meanwhile_does_not_leave_its_queue_held(late: Operator) -> None:
    late._synced(False)
    late._synced(True)
    late._queue.add(NODE)
    [lane] = [lane for lane in late._queue.lanes() if len(lane)]
    async with asyncio.timeout(60):
        assert await lane.get() == NODE


async def test_a_copy_of_the_assignments_that_is_deleted_takes_them_from_nobody(late: Operator) -> None:
    node = make_node()
    data = {names.ASSIGNMENTS_FILE: write_assignments(build_assignments(node, []))}
    late._assigned(make_child(CONFIG_MAP, node, "writers-assignments", data=data), False)
    late._assigned(make_child(CONFIG_MAP, node, "backup", data=data), True)
    assert late._board.read(("ns", "writers")) is not None
    late._assigned(make_child(CONFIG_MAP, node, "writers-assignments", data=data), True)
    assert late._board.read(("ns", "writers")) is None


async def test_a_resync_meanwhile_forgets_nothing_that_was_named(late: Operator) -> None:
    late._queue.add(NODE)
    await late._working.resync()
    assert len(late._queue) == 1


async def test_a_mounted_secret_without_a_ca_is_told_of_once_and_looked_at_until_it_has_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    async def sleep(pause_s: float) -> None:
        looks.append(pause_s)
        if len(looks) == 3:
            (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----")

    operator = Operator(read_settings({names.ENV_TLS_FOLDER: str(tmp_path)}), FakeKube())
    monkeypatch.setattr(operator._working, "add_all", nothing_to_add)
    monkeypatch.setattr(operator._elector, "_leads", True)
    monkeypatch.setattr(app.asyncio, "sleep", sleep)
    await operator._begin_to_lead()
    assert looks == [app.RETRY_S] * 3
    assert operator._is_trust_fresh
    assert [record.message for record in caplog.records if "ca.crt" in record.message] == [
        "there is no CA certificate to trust (ca.crt): nothing is written until there is one"
    ]


async def nothing_to_add() -> bool:
    return True
