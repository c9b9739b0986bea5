"""`switchboard send` and `switchboard agents`: one call each, answers on stdout, one line on stderr for an error."""

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click

from switchboard import Client, NodeUnavailable, SwitchboardError
from switchboard.options import CallOptions
from switchboard_wire.v1 import gateway_pb2 as api

# A gateway on the same machine or cluster answers in milliseconds; a person should not wait longer to learn of a typo
CONNECT_S = 3.0
HEADINGS = ("NAME", "TYPE", "VERSION", "READY", "NODES", "CAPABILITIES", "DESCRIPTION")
WIDTH = 100


@dataclass(frozen=True, slots=True)
class Message:
    """What `switchboard send` is to send, and where."""

    gateway: str
    agent: str
    text: str | bytes
    as_json: bool
    stream: bool
    options: CallOptions


def send_message(message: Message) -> int:
    """Send it and print the answer; returns the exit status."""
    try:
        payload = read_payload(message.text, message.as_json)
    except ValueError as error:
        return _complain(f"TEXT is not JSON: {error}")
    try:
        asyncio.run(_stream(message, payload) if message.stream else _request(message, payload))
    except SwitchboardError as error:
        return _complain(explain(error, message.gateway))
    except KeyboardInterrupt:
        return 130
    return 0


def read_payload(text: str | bytes, as_json: bool) -> object:
    """What goes to the agent: the value of JSON, else text, or bytes where they are no UTF-8. Raises ValueError."""
    if as_json:
        return json.loads(text)
    data = os.fsencode(text)  # arguments that are no UTF-8 come as surrogates
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def explain(error: SwitchboardError, gateway: str) -> str:
    """One line for a person; a gateway that is not there is what most often has to be mended, so it says how."""
    if isinstance(error, NodeUnavailable) and error.message.startswith(f"{gateway} cannot be reached"):
        return f"{error}. `switchboard dev` runs one here; --gateway names another"
    return str(error)


async def _request(message: Message, payload: object) -> None:
    async with Client(message.gateway, connect_timeout_s=CONNECT_S) as client:
        answer = await client.request(message.agent, payload, **message.options)
    _print_value(answer.value)


async def _stream(message: Message, payload: object) -> None:
    async with Client(message.gateway, connect_timeout_s=CONNECT_S) as client:
        last = "\n"
        async for piece in client.stream(message.agent, payload, **message.options):
            if isinstance(piece, str):
                click.echo(piece, nl=False)
                last = piece
            else:
                _print_value(piece)
        if not last.endswith("\n"):
            click.echo()


def _print_value(value: object) -> None:
    if isinstance(value, bytes):
        sys.stdout.buffer.write(value)
    elif isinstance(value, str):
        click.echo(value)
    elif value is not None:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _complain(text: str) -> int:
    click.echo(text, err=True)
    return 1


def list_agents(gateway: str, namespace: str, capability: str, as_json: bool) -> int:
    """Print the agents; returns the exit status."""
    try:
        found = asyncio.run(_agents(gateway, namespace, capability))
    except SwitchboardError as error:
        return _complain(explain(error, gateway))
    if as_json:
        for agent in found:
            click.echo(json.dumps(_as_dict(agent), ensure_ascii=False))
    elif found:
        click.echo("\n".join(format_table([HEADINGS, *map(_row, found)])))
    else:
        click.echo("No agents.", err=True)
    return 0


async def _agents(gateway: str, namespace: str, capability: str) -> list[api.AgentSummary]:
    async with Client(gateway, connect_timeout_s=CONNECT_S) as client:
        return await client.agents(namespace=namespace, capability=capability)


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
    }


def _row(agent: api.AgentSummary) -> tuple[str, ...]:
    ready = str(agent.instances_ready)
    return (
        agent.name,
        agent.type,
        agent.version or "-",
        ready,
        ",".join(agent.nodes) or "-",
        ",".join(agent.capabilities) or "-",
        agent.description or "-",
    )


def format_table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows as columns two blanks apart; a line ends without blanks, and is cut at 100 characters."""
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        lines.append(line if len(line) <= WIDTH else line[: WIDTH - 1] + "…")
    return lines
