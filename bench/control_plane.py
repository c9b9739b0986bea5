"""The control plane with many objects: pools and agents by the thousand, beside plain `kubectl apply` of the children.

    python -m bench.control_plane [--quick]

An API server with its controllers; kwok in the place of kubelets, because it makes pods ready through the API as
kubelets do; a process of ours in the place of their sidecars, because kwok knows nothing of the Registry; one operator,
whose Registry is plain text here. Prints a table and writes build/bench/control_plane.json. Wants an idle machine:
15 minutes, a tenth of it with --quick.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.control_plane_table import Figures, render
from bench.convergence import Counts, await_count, await_gone, edit_and_wait, percentile, watched
from bench.fleet import Fleet, agent_node_of, fake_nodes, write_lists
from bench.machine import Machine, prepare
from bench.report import publish_figures
from bench.surroundings import KUBECTLS, ROOT, Operator, Plane, Spoken, control_plane, fake_sidecars, operator
from bench.warm_agents import POOL, measure, warm_pool
from switchboard_kube import AGENTS, DEPLOYMENTS, NAMESPACES, Kube, connect
from switchboard_operator.pacing import LONGEST_BEGINNING_S

# By then the operator has written what it held back of a fleet that is there; how busy instances are goes on to change
HELD_BACK_S: Final = LONGEST_BEGINNING_S + 5.0
PLAIN: Final = "plain"
OURS: Final = "ours"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done. large: None for the small fleet alone."""

    small: Fleet
    large: Fleet | None
    steady_s: float
    edits: int
    warm: int


FULL: Final = Scale(Fleet(100, 10, 1000), Fleet(100, 50, 10000), 60.0, 100, 100)
QUICK: Final = Scale(Fleet(20, 5, 200), None, 20.0, 30, 20)


async def apply_plain(plane: Plane, kube: Kube, fleet: Fleet) -> Figures:
    """The children and the same AgentNodes and Agents, where no operator looks: until every pod is ready."""
    children = write_lists(plane.folder, "children", fleet.children(PLAIN))
    inert = write_lists(plane.folder, "inert", [*fleet.agent_nodes(PLAIN), *fleet.agents_of(PLAIN)], KUBECTLS)
    async with watched(kube, DEPLOYMENTS, PLAIN, Counts.deployment) as deployments:
        began, used = time.monotonic(), _cpu_s(plane)
        await plane.apply([*children, *inert])
        applied = time.monotonic() - began
        await await_count(deployments, fleet.nodes, at_least=fleet.pods_per_node)
        ready = time.monotonic() - began
    return {"applied_s": applied, "ready_s": ready, "plane_cpu_s": _cpu_s(plane) - used}


async def apply_ours(plane: Plane, kube: Kube, fleet: Fleet, runs: Operator, spoken: Spoken) -> Figures:
    """AgentNodes and Agents, until every Agent is ready on every instance."""
    files = write_lists(plane.folder, "ours", [*fleet.agent_nodes(OURS), *fleet.agents_of(OURS)], KUBECTLS)
    before, usage, speakers_s = runs.counters(), runs.usage(), spoken.cpu_s()
    async with watched(kube, AGENTS, OURS, Counts.agent) as agents:
        began, used = time.monotonic(), _cpu_s(plane)
        await plane.apply(files)
        applied = time.monotonic() - began
        await await_count(agents, fleet.agents, at_least=1)
        ready = time.monotonic() - began
        at_ready = {"plane_cpu_s": _cpu_s(plane) - used, "operator_ready_cpu_s": runs.usage().cpu_s - usage.cpu_s}
        await await_count(agents, fleet.agents, at_least=fleet.pods_per_node)
        everywhere = time.monotonic() - began
    await asyncio.sleep(HELD_BACK_S)
    return {
        "agents": fleet.agents,
        "pods": fleet.pods,
        "applied_s": applied,
        "ready_s": ready,
        "ready_everywhere_s": everywhere,
        "instances": spoken.instances,
        "sidecars_cpu_s": spoken.cpu_s() - speakers_s,
        **at_ready,
        **_spent(runs, before, usage.cpu_s, fleet.agents, everywhere),
    }


def _cpu_s(plane: Plane) -> float:
    """Of the API server, etcd, controllers, kwok and every kubectl that has ended."""
    kubectls = resource.getrusage(resource.RUSAGE_CHILDREN)
    return plane.cpu_s() + kubectls.ru_utime + kubectls.ru_stime


def _spent(runs: Operator, before: dict[tuple[str, ...], float], cpu_s: float, agents: int, seconds: float) -> Figures:
    """What the operator has done since."""
    after, usage = runs.counters(), runs.usage()
    since = {key: value - before.get(key, 0.0) for key, value in after.items() if value != before.get(key, 0.0)}
    writes = {f"{key[2]} {key[1]}": n for key, n in since.items() if key[0].endswith("api_writes_total")}
    reconciles = {" ".join(key[1:]): n for key, n in since.items() if key[0].endswith("reconciles_total")}
    total = sum(writes.values())
    return {
        "writes": total,
        "writes_per_agent": total / agents,
        "writes_per_s": total / seconds,
        "writes_by": writes,
        "reconciles": sum(reconciles.values()),
        "reconciles_by": reconciles,
        "operator_cpu_s": usage.cpu_s - cpu_s,
        "operator_rss_mib": usage.rss_mib,
        "operator_peak_mib": usage.peak_mib,
    }


async def steady(runs: Operator, spoken: Spoken, seconds: float) -> Figures:
    """Nothing happens but heartbeats."""
    before, usage, beats = runs.counters(), runs.usage(), spoken.beats
    await asyncio.sleep(seconds)
    spent = _spent(runs, before, usage.cpu_s, 1, seconds)
    lease = 1 / 2.0  # renewed every 2 s, past the counter of writes
    return {
        "instances": spoken.instances,
        "heartbeats_per_s": (spoken.beats - beats) / seconds,
        "writes_per_s": spent["writes_per_s"] + lease,
        "writes_by": spent["writes_by"],
        "operator_cpu_share": spent["operator_cpu_s"] / seconds,
        "operator_rss_mib": spent["operator_rss_mib"],
    }


async def edits(kube: Kube, fleet: Fleet, count: int) -> Figures:
    """From the answer to an edit of an AgentNode to its Deployment saying so."""
    taken = []
    async with watched(kube, DEPLOYMENTS, OURS, Counts.wanted) as deployments:
        for number in range(count):
            name = f"pool-{number % fleet.nodes:04}"
            wanted = deployments.counts[name] + 1
            taken.append(await edit_and_wait(kube, OURS, name, wanted, deployments) * 1000)
    return {"edits": count, "p50_ms": percentile(taken, 50), "p99_ms": percentile(taken, 99)}


async def warm(plane: Plane, kube: Kube, runs: Operator, count: int) -> Figures:
    """New Agents on an AgentNode whose instance is there."""
    await plane.apply(write_lists(plane.folder, "warm-pool", [agent_node_of(OURS, POOL, 1, "fake-00")]))
    async with warm_pool(plane, kube, OURS, runs.registry) as address:
        taken = await measure(plane, OURS, address, count)
    return {"agents": count, "p50_ms": percentile(taken, 50), "p99_ms": percentile(taken, 99)}


async def run(scale: Scale, folder: Path, publish: Callable[[Figures], None]) -> None:
    """Every part in turn; publish what was found, once the small fleet is through and after each part from then on."""
    found: Figures = {}
    with control_plane(folder) as plane:
        async with connect(kubeconfig=str(plane.kubeconfig), field_manager="bench") as kube:
            await _prepare(plane, kube)
            print("plain kubectl apply", flush=True)
            found["plain"] = await apply_plain(plane, kube, scale.small)
            if scale.large:
                found["plain large"] = await apply_plain(plane, kube, scale.large)
            await _empty(kube, PLAIN)
            async with (
                operator(plane, OURS) as runs,
                fake_sidecars(plane, OURS, runs.registry, POOL) as spoken,
            ):
                for name, part in _parts(scale, plane, kube, runs, spoken):
                    print(name, flush=True)
                    found[name] = await part()
                    if "warm" in found:
                        publish(found)


def _parts(
    scale: Scale, plane: Plane, kube: Kube, runs: Operator, spoken: Spoken
) -> list[tuple[str, Callable[[], Awaitable[Figures]]]]:
    parts: list[tuple[str, Callable[[], Awaitable[Figures]]]] = [
        ("ours", lambda: apply_ours(plane, kube, scale.small, runs, spoken)),
        ("steady", lambda: steady(runs, spoken, scale.steady_s)),
        ("edits", lambda: edits(kube, scale.small, scale.edits)),
        ("warm", lambda: warm(plane, kube, runs, scale.warm)),
    ]
    if large := scale.large:
        parts.append(("ours large", lambda: apply_ours(plane, kube, large, runs, spoken)))
        parts.append(("steady large", lambda: steady(runs, spoken, scale.steady_s)))
    return parts


async def _prepare(plane: Plane, kube: Kube) -> None:
    await plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    await plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
    await plane.apply(write_lists(plane.folder, "nodes", fake_nodes()))
    for namespace in (PLAIN, OURS):
        await kube.create(NAMESPACES, {"metadata": {"name": namespace}})


async def _empty(kube: Kube, namespace: str) -> None:
    """Take everything away, so that the second fleet meets an API server like the first did."""
    async with watched(kube, NAMESPACES, None, lambda held: 1) as left:
        await kube.delete(NAMESPACES, namespace)
        await await_gone(left, namespace)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.control_plane", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fleet of a fifth, without the large one")
    parser.add_argument("--keep", type=Path, help="folder for logs and files, kept")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    machine = prepare(halts=True)  # what is measured takes milliseconds, and idle processors are worth more here
    scale = QUICK if given.quick else FULL
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sb-bench-")))
        folder.mkdir(parents=True, exist_ok=True)
        asyncio.run(run(scale, folder, lambda found: _publish(found, machine)))


def _publish(found: Figures, machine: Machine) -> None:
    publish_figures("control_plane", json.dumps(found, indent=1) + "\n", render(found), machine)


if __name__ == "__main__":
    main()
