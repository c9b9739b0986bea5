"""`switchboard agents` and `switchboard describe`: what a gateway knows, as tables or as JSON."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import click
from google.protobuf.json_format import MessageToDict

from switchboard import SwitchboardError
from switchboard.listing import AgentFilter
from switchboard_cli.calls import complain, explain
from switchboard_cli.gateway import Gateway
from switchboard_cli.tables import cut_lines, fit_columns, format_columns, screen_width
from switchboard_wire.v1 import gateway_pb2 as api

HEADINGS = ("NAME", "TYPE", "VERSION", "READY", "STATE", "NODES", "CAPABILITIES", "DESCRIPTION")
INSTANCE_HEADINGS = ("INSTANCE", "NODE", "ZONE", "STATE", "CIRCUIT", "IN FLIGHT", "LATENCY", "WEIGHT")
# What a narrow screen does without, in this order. An instance's name begins with its AgentNode's
SPARE = ("NODE", "WEIGHT", "ZONE", "LATENCY")


def list_agents(gateway: Gateway, wanted: AgentFilter, *, as_json: bool, watch: bool) -> int:
    """Print the agents, with `watch` anew whenever they change; returns the exit status."""

    def show(found: Sequence[api.AgentSummary]) -> None:
        if as_json:
            for agent in found:
                click.echo(json.dumps(_as_dict(agent), ensure_ascii=False))
        elif found:
            click.echo("\n".join(cut_lines(format_columns([HEADINGS, *map(_row, found)]), screen_width())))
        else:
            click.echo("No agents.", err=True)

    return _run(gateway, _watch(gateway, wanted, show) if watch else _list(gateway, wanted, show))


def describe_agent(gateway: Gateway, type_: str, namespace: str, as_json: bool) -> int:
    """Print the Agents of one type with their instances; returns the exit status."""
    return _run(gateway, _describe(gateway, type_, namespace, as_json))


def _run(gateway: Gateway, work: Coroutine[Any, Any, None]) -> int:
    try:
        asyncio.run(work)
    except SwitchboardError as error:
        return complain(explain(error, gateway.address))
    except KeyboardInterrupt:
        return 130
    return 0


Show = Callable[[Sequence[api.AgentSummary]], None]


async def _list(gateway: Gateway, wanted: AgentFilter, show: Show) -> None:
    async with gateway.client() as client:
        show(await client.agents(**wanted))


async def _watch(gateway: Gateway, wanted: AgentFilter, show: Show) -> None:
    """Print every list that comes, with a blank line between them."""
    async with gateway.client() as client:
        first = True
        async for found in client.watch_agents(**wanted):
            if not first:
                click.echo()
            first = False
            show(found)


async def _describe(gateway: Gateway, type_: str, namespace: str, as_json: bool) -> None:
    async with gateway.client() as client:
        found = await client.describe(type_, namespace=namespace)
    if as_json:
        click.echo(json.dumps(MessageToDict(found), ensure_ascii=False))
    else:
        width = screen_width()
        click.echo("\n\n".join("\n".join(format_agent(agent, width)) for agent in found.agents))


def format_agent(agent: api.AgentDescription, width: int | None = None) -> list[str]:
    """One Agent in lines: what it is, then a table of its instances. width: of that table; None: as it gets."""
    facts = {
        "Name": f"{agent.name} {agent.version}".strip(),
        "Description": agent.description,
        "State": f"{agent.state}, {agent.instances_ready} ready",
        "Capabilities": ", ".join(f"{one.name} {one.version}".strip() for one in agent.capabilities),
        "Topics": ", ".join(one.topic + "*" * one.prefix for one in agent.topics),
        "Nodes": ", ".join(agent.nodes),
        "Balancing": f"{agent.strategy}, key affinity {agent.key_affinity}, weight {agent.weight}",
        "Limits": f"{agent.timeout_ms / 1000:g} s, {agent.max_payload_bytes} bytes",
        "Retries": _retries(agent),
        "Callers": ", ".join(agent.allowed_callers),
        "Waiting": f"{agent.held_calls} calls, {agent.held_bytes} bytes" if agent.held_calls else "",
    }
    lines = [f"{name + ':':14}{text}" for name, text in facts.items() if text]
    if not agent.instances:
        return lines
    table = fit_columns([INSTANCE_HEADINGS, *map(_instance_row, agent.instances)], SPARE, width)
    failures = [f"{one.name}: {one.message}" for one in agent.instances if one.message]
    return [*lines, "", *table, *failures]


def _retries(agent: api.AgentDescription) -> str:
    """How often a call may be tried, and when a second instance is asked beside the first; empty when not told."""
    if not agent.attempts:
        return ""
    text = f"{agent.attempts} attempts" + (", idempotent" if agent.idempotent else "")
    if agent.HasField("hedging"):
        text += f", hedged after {agent.hedging.delay_ms} ms"
    return text


def _instance_row(instance: api.InstanceDescription) -> tuple[str, ...]:
    circuit = instance.circuit
    if instance.next_attempt_ms:
        circuit += f" for {instance.next_attempt_ms / 1000:.0f} s"
    return (
        instance.name,
        instance.node or "-",
        instance.zone or "-",
        instance.state,
        circuit,
        f"{instance.in_flight}/{instance.concurrency}",
        f"{instance.latency_ms:.1f} ms",
        f"{round(instance.weight, 1):g}",
    )


def _as_dict(agent: api.AgentSummary) -> dict[str, object]:
    return {
        "name": agent.name,
        "namespace": agent.namespace,
        "type": agent.type,
        "version": agent.version,
        "instancesReady": agent.instances_ready,
        "nodes": list(agent.nodes),
        "capabilities": list(agent.capabilities),
        "description": agent.description,
        "strategy": agent.strategy,
        "state": agent.state,
    }


def _row(agent: api.AgentSummary) -> tuple[str, ...]:
    return (
        agent.name,
        agent.type,
        agent.version or "-",
        str(agent.instances_ready),
        agent.state or "-",
        ",".join(agent.nodes) or "-",
        ",".join(agent.capabilities) or "-",
        agent.description or "-",
    )
