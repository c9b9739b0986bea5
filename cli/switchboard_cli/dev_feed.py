"""What the processes of `switchboard dev` log, as a person wants to read it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import switchboard
import switchboard_wire

_DIM, _RED, _GREEN, _YELLOW = "bright_black", "red", "green", "yellow"


# Frames of the SDK say nothing to those who use it
OURS = tuple(Path(str(package.__file__)).parent for package in (switchboard, switchboard_wire))
Record = dict[str, Any]


class Feed:
    """Prints one line per thing that matters; every line of every process when verbose.

    folder: the user's code; traces are cut to what is in it.
    """

    def __init__(self, folder: Path, *, verbose: bool) -> None:
        self._folder = str(folder)
        self._verbose = verbose

    def line(self, component: str, text: str) -> Record | None:
        """Show one line of a process's stderr, if it is worth it; returns the log record that it is."""
        record = _parse(text)
        if record is None:
            click.echo(text)
            return None
        shown = describe(record, self._folder)
        if shown is not None:
            click.echo(shown)
        elif (self._verbose and record.get("level") != "debug") or record.get("level") in ("error", "critical"):
            click.secho(_plain(component, record), fg=_DIM)
        return record

    def say(self, text: str, *, bad: bool = False) -> None:
        """A line of `switchboard dev` itself."""
        click.secho(text, fg=_RED if bad else None)


def _parse(text: str) -> Record | None:
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "message" in record else None


def describe(record: Record, folder: str) -> str | None:
    """The line for a record that users care for, None for any other."""
    message = record["message"]
    clock = click.style(str(record.get("time", ""))[11:23], fg=_DIM)
    if message in ("call", "call refused"):
        return f"{clock} {_call(record)}"
    if message == "agent failed to load" or message == "module failed to load":
        reason = click.style(str(record.get("reason", "")), fg=_RED)
        return f"{clock} {reason}{_trace(record, folder)}"
    if message == "handler failed":
        return f"{clock} {click.style(str(record.get('agent')), fg=_RED)} raised{_trace(record, folder)}"
    if message == "no agent is defined":
        text = f"no agent in {record.get('modules')}: decorate a function with @agent"
        return f"{clock} {click.style(text, fg=_YELLOW)}"
    if str(record.get("logger", "")).startswith("agent."):
        return f"{clock} {record['logger'].removeprefix('agent.')}: {message}"
    return None


def _call(record: Record) -> str:
    who = record["agent"] + (f"/{record['key']}" if record.get("key") else "")
    sender = f" from {record['sender']}" if record.get("sender") else ""
    if record["code"] == "OK":
        return f"{who}{sender} {click.style('ok', fg=_GREEN)} {record['ms']} ms"
    took = f" {record['ms']} ms" if "ms" in record else ""
    text = f"{record['code']}{took}  {record.get('error', '')}"
    return f"{who}{sender} {click.style(text, fg=_RED)}"


def _trace(record: Record, folder: str) -> str:
    """The trace, from the first frame of the user's code on, and without our own frames below it."""
    lines = str(record.get("exception", "")).splitlines()
    first = next((number for number, line in enumerate(lines) if f'File "{folder}' in line), None)
    shown = lines[first:] if first is not None else lines[-1:]
    return "".join(f"\n    {line}" for line in _without_ours(shown))


def _without_ours(lines: list[str]) -> Iterator[str]:
    is_ours = False
    for line in lines:
        if line.startswith('  File "'):
            is_ours = line.startswith(tuple(f'  File "{package}/' for package in OURS))
        elif not line.startswith("    "):
            is_ours = False
        if not is_ours:
            yield line


def _plain(component: str, record: Record) -> str:
    known = ("time", "level", "component", "logger", "message", "exception")
    extra = "".join(f" {name}={value}" for name, value in record.items() if name not in known)
    exception = f"\n{record['exception']}" if record.get("exception") else ""
    return f"{str(record.get('time', ''))[11:23]} [{component}] {record['message']}{extra}{exception}"
