"""`switchboard top`: the instances of all pools with their work, as the operator's registry has them right now."""

import asyncio
import json
from collections.abc import Callable

import click
from google.protobuf.json_format import MessageToDict

from switchboard import SwitchboardError
from switchboard.listing import InstanceFilter
from switchboard_cli.calls import complain, explain
from switchboard_cli.gateway import Gateway
from switchboard_cli.tables import cut_lines, fit_columns, screen_width
from switchboard_wire.v1.instances_pb2 import InstanceList, InstanceReport

HEADINGS = (
    "NAMESPACE", "NODE", "INSTANCE", "STATE", "ACTIVITY", "IN FLIGHT", "QUEUED", "MSG/S", "ERRORS", "LATENCY", "CPU",
    "MEMORY", "HEARD", "SCORE",
)  # fmt: skip
# What a narrow screen does without, in this order. The instance's name begins with the AgentNode's; the score
# follows from columns beside it
SPARE = ("SCORE", "HEARD", "NODE", "ERRORS", "LATENCY", "MEMORY", "ACTIVITY", "CPU", "MSG/S", "NAMESPACE")
# As often as sidecars speak
REFRESH_S = 2.0
NOTHING = "-"


def show_instances(gateway: Gateway, wanted: InstanceFilter, *, as_json: bool, watch: bool, wide: bool) -> int:
    """Print the instances, with `watch` again and again; returns the exit status. wide: whatever the screen's width."""

    def show(found: InstanceList) -> list[str]:
        return _json_lines(found) if as_json else render(found, None if wide else screen_width())

    try:
        asyncio.run(_show(gateway, wanted, show, watch=watch))
    except SwitchboardError as error:
        return complain(explain(error, gateway.address))
    except KeyboardInterrupt:
        return 130
    return 0


async def _show(
    gateway: Gateway, wanted: InstanceFilter, show: Callable[[InstanceList], list[str]], *, watch: bool
) -> None:
    async with gateway.client() as client:
        while True:
            found = await client.instances(**wanted)
            click.echo("\n".join(show(found)))
            if not watch:
                return
            await asyncio.sleep(REFRESH_S)
            click.echo()


def render(found: InstanceList, width: int | None) -> list[str]:
    """A table, the busiest of each pool first, and a line for what the list leaves out. width: None for any."""
    if not found.instances:
        return ["No instances."]
    rows = sorted(found.instances, key=lambda one: (one.namespace, one.node, -_work(one), one.name))
    lines = fit_columns([HEADINGS, *map(_row, rows)], SPARE, width)
    if found.total > len(rows):
        more = f"{found.total - len(rows)} more: narrow the list by --namespace, NODE or --state"
        lines += cut_lines([more], width)
    return lines


def _json_lines(found: InstanceList) -> list[str]:
    return [
        json.dumps(MessageToDict(one, always_print_fields_with_no_presence=True), ensure_ascii=False)
        for one in found.instances
    ]


def _work(one: InstanceReport) -> int:
    return one.load.in_flight + one.load.queued


def _row(one: InstanceReport) -> tuple[str, ...]:
    who = (one.namespace, one.node, one.name, one.state, one.activity)
    if not one.HasField("load"):
        return (*who, *[NOTHING] * (len(HEADINGS) - len(who)))
    load = one.load
    return (
        *who,
        f"{load.in_flight}/{one.capacity.concurrency}",
        str(load.queued),
        f"{load.messages_per_second:.1f}",
        f"{load.error_rate:.0%}",
        f"{load.latency_ms:.0f} ms",
        f"{load.cpu:.0%}",
        f"{load.memory:.0%}",
        f"{one.age_ms / 1000:.1f} s ago",
        f"{one.score:.2f}",
    )
