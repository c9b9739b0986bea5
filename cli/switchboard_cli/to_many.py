"""`switchboard publish` and `switchboard broadcast`: one message to many, a line for each receiver."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass

import click

from switchboard import Delivery, SwitchboardError
from switchboard.options import CallOptions
from switchboard_cli.calls import complain, explain, read_payload
from switchboard_cli.gateway import Gateway
from switchboard_cli.tables import format_columns

HEADINGS = ("AGENT", "INSTANCE", "ANSWER")


@dataclass(frozen=True, slots=True)
class ToMany:
    """What is to be sent, and to whom: a topic, or every instance of an agent."""

    gateway: Gateway
    topic: str
    agent: str
    source: str
    text: str | bytes
    as_json: bool
    options: CallOptions


def send_to_many(message: ToMany) -> int:
    """Send it and print what came of each copy; returns the exit status: 1 as well when a receiver failed."""
    try:
        payload = read_payload(message.text, message.as_json)
    except ValueError as error:
        return complain(f"TEXT is not JSON: {error}")
    try:
        deliveries = asyncio.run(_send(message, payload))
    except SwitchboardError as error:
        return complain(explain(error, message.gateway.address))
    except KeyboardInterrupt:
        return 130
    if not deliveries:
        click.echo(f"Nobody is subscribed to {message.topic}.", err=True)
        return 0
    click.echo("\n".join(format_deliveries(deliveries)))
    return 0 if all(delivery.ok for delivery in deliveries) else 1


async def _send(message: ToMany, payload: object) -> list[Delivery]:
    async with message.gateway.client() as client:
        if message.topic:
            return await client.publish(message.topic, payload, source=message.source, **message.options)
        return await client.broadcast(message.agent, payload, **message.options)


def format_deliveries(deliveries: Iterable[Delivery]) -> list[str]:
    """A line for each receiver: who it was, and its answer or its error."""
    return format_columns([HEADINGS, *((str(one.agent), one.instance or "-", _answer(one)) for one in deliveries)])


def _answer(delivery: Delivery) -> str:
    if delivery.error is not None:
        return str(delivery.error)
    value = delivery.value
    if isinstance(value, bytes):
        return f"{len(value)} bytes{' and more' if delivery.truncated else ''}"
    if value is None:
        return "-"
    # One line each: an answer of several lines is told as JSON tells it
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value, ensure_ascii=False)
