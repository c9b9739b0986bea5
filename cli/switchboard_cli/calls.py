"""`switchboard send`: one call, its answer on stdout, one line on stderr for an error."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass

import click

from switchboard import NodeUnavailable, SwitchboardError, Unauthenticated
from switchboard.options import CallOptions
from switchboard_cli.gateway import Gateway


@dataclass(frozen=True, slots=True)
class Message:
    """What `switchboard send` is to send, and where."""

    gateway: Gateway
    agent: str
    text: str | bytes
    as_json: bool
    stream: bool
    options: CallOptions


def send_message(message: Message) -> int:
    """Send it and print the answer; returns the exit status."""
    if message.agent.startswith("topic:"):
        topic = message.agent.removeprefix("topic:") or "TOPIC"
        return complain(f"{message.agent} has subscribers and not one answer: switchboard publish {topic} TEXT")
    try:
        payload = read_payload(message.text, message.as_json)
    except ValueError as error:
        return complain(f"TEXT is not JSON: {error}")
    try:
        asyncio.run(_stream(message, payload) if message.stream else _request(message, payload))
    except SwitchboardError as error:
        return complain(explain(error, message.gateway.address))
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
    if isinstance(error, Unauthenticated):
        return f"{error}. --token-file names a file with one"
    if isinstance(error, NodeUnavailable) and error.message.startswith(f"{gateway} cannot be reached"):
        if "it speaks" in error.message or "its certificate" in error.message:
            return str(error)
        # gRPC tells which of its layers said so before it tells what was said
        reason = error.message.rpartition(": ")[2]
        text = f"NODE_UNAVAILABLE: {gateway} cannot be reached: {reason}"
        return f"{text}. `switchboard dev` runs one here; --gateway names another"
    return str(error)


async def _request(message: Message, payload: object) -> None:
    async with message.gateway.client() as client:
        answer = await client.request(message.agent, payload, **message.options)
    _print_value(answer.value)


async def _stream(message: Message, payload: object) -> None:
    async with message.gateway.client() as client:
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


def complain(text: str) -> int:
    """Say it on stderr; the exit status."""
    click.echo(text, err=True)
    return 1
