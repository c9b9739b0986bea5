"""The commands. Each does its work in a module of its own, imported when it runs, so that --help is quick."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from switchboard_cli.gateway import Gateway, with_gateway
from switchboard_wire.names import GATEWAY_GRPC_PORT, GATEWAY_HTTP_PORT

if TYPE_CHECKING:
    from switchboard.options import CallOptions

_WIDTH = {"max_content_width": 80, "help_option_names": ["-h", "--help"]}
_json = click.option("--json", "as_json", is_flag=True, help="TEXT is JSON: send it as such.")
_timeout = click.option(
    "--timeout", "-t", type=click.FloatRange(min=0.001), metavar="SECONDS", help="Give up after this time."
)
_namespace = click.option("--namespace", "-n", metavar="NAME", default="", help="Namespace of the agents.")


@click.group(context_settings=_WIDTH)
@click.version_option(package_name="switchboard-agents", message="%(version)s")
def cli() -> None:
    """Run, call and look at Switchboard's agents.

    `switchboard dev app.py` runs the agents of a file on this machine; `switchboard send AGENT TEXT` talks to them.
    """


@cli.command(short_help="Run the agents of a file here, and reload them on change.")
@click.argument("target", metavar="[FILE|MODULE:ATTR]", required=False)
@click.option(
    "--http", metavar="TYPE=PORT[/PATH]", multiple=True, help="Also an agent that is an HTTP server of yours, on PORT."
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help=f"gRPC port.  [default: {GATEWAY_GRPC_PORT}, or a free one]"
)
@click.option(
    "--http-port", type=click.IntRange(1, 65535), help=f"REST port.  [default: {GATEWAY_HTTP_PORT}, or a free one]"
)
@click.option("--reload/--no-reload", default=True, show_default=True, help="Start anew when a Python file changes.")
@click.option("--verbose", "-v", is_flag=True, help="Show the log lines of gateway, sidecar and host too.")
def dev(
    target: str | None, http: tuple[str, ...], port: int | None, http_port: int | None, reload: bool, verbose: bool
) -> None:
    """Run agents on this machine: gateway, sidecar and host as processes.

    FILE is a Python file whose agents are decorated with @agent. MODULE:ATTR names one function or class, importable
    from the current folder. Requests and errors are shown as they happen; Ctrl-C ends everything.

    \b
    Example:
      switchboard dev app.py
      switchboard send summarize "A long text."     (in another terminal)
    """
    from switchboard_cli.dev import DevOptions, run_dev

    sys.exit(run_dev(DevOptions(target, http, Path.cwd(), port, http_port, reload, verbose)))


@cli.command(short_help="Send one message to an agent and print its answer.")
@click.argument("agent")
@click.argument("text", required=False)
@click.option("--key", "-k", metavar="KEY", default="", help="Conversation, document or user within the agent.")
@click.option("--method", "-m", metavar="NAME", default="", help="One of several methods that the agent offers.")
@_json
@click.option("--stream", "-s", is_flag=True, help="Print the answer piece by piece as it comes.")
@_timeout
@_namespace
@with_gateway
def send(
    agent: str,
    text: str | None,
    key: str,
    method: str,
    as_json: bool,
    stream: bool,
    timeout: float | None,
    namespace: str,
    gateway: Gateway,
) -> None:
    """Send TEXT to AGENT and print the answer.

    AGENT is a type, type/key, or capability:NAME. Without TEXT, or with "-", the message is read from standard input.

    \b
    Examples:
      switchboard send summarizer "A long text."
      switchboard send counter/ada --json '{"add": 2}'
      cat report.txt | switchboard send capability:summarize --stream
    """
    from switchboard_cli.calls import Message, send_message

    options = _call_options(timeout, namespace)
    if key:
        options["key"] = key
    if method:
        options["method"] = method
    sys.exit(send_message(Message(gateway, agent, _read_text(text), as_json, stream, options)))


@cli.command(short_help="Send a copy to every agent that is subscribed to a topic.")
@click.argument("topic")
@click.argument("text", required=False)
@click.option("--source", metavar="KEY", default="", help="Where the event comes from: the key of every copy.")
@_json
@_timeout
@_namespace
@with_gateway
def publish(
    topic: str, text: str | None, source: str, as_json: bool, timeout: float | None, namespace: str, gateway: Gateway
) -> None:
    """Send a copy of TEXT to every agent that is subscribed to TOPIC, and print what came of each.

    Without TEXT, or with "-", the message is read from standard input. The status is 1 when an agent failed.

    \b
    Example:
      switchboard publish news "It rained." --source user-1
    """
    from switchboard_cli.to_many import ToMany, send_to_many

    options = _call_options(timeout, namespace)
    sys.exit(send_to_many(ToMany(gateway, topic, "", source, _read_text(text), as_json, options)))


@cli.command(short_help="Send a copy to every instance of an agent.")
@click.argument("agent")
@click.argument("text", required=False)
@_json
@_timeout
@_namespace
@with_gateway
def broadcast(
    agent: str, text: str | None, as_json: bool, timeout: float | None, namespace: str, gateway: Gateway
) -> None:
    """Send a copy of TEXT to every instance of AGENT, a type, and print what came of each.

    Without TEXT, or with "-", the message is read from standard input. The status is 1 when an instance failed.

    \b
    Example:
      switchboard broadcast lookup "*forget*"
    """
    from switchboard_cli.to_many import ToMany, send_to_many

    options = _call_options(timeout, namespace)
    sys.exit(send_to_many(ToMany(gateway, "", agent, "", _read_text(text), as_json, options)))


@cli.command(short_help="List the agents that a gateway knows.")
@click.option("--type", "-t", "type_", metavar="TYPE", default="", help="Only agents of this type.")
@click.option("--capability", "-c", metavar="NAME", default="", help="Only agents with this capability.")
@click.option("--node", metavar="NAME", default="", help="Only agents of this AgentNode.")
@click.option("--state", metavar="STATE", default="", help="Only Ready, Loading, Failed, Draining or Offline ones.")
@click.option("--zone", metavar="ZONE", default="", help="Only agents with an instance in this zone.")
@click.option("--watch", "-w", is_flag=True, help="Print the list anew whenever it changes, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one agent a line.")
@_namespace
@with_gateway
def agents(watch: bool, as_json: bool, gateway: Gateway, type_: str, **filters: str) -> None:
    """List the agents that the gateway knows, with the instances that are ready for each."""
    from switchboard.listing import AgentFilter
    from switchboard_cli.listing import list_agents

    wanted = AgentFilter(type=type_, **filters)  # type: ignore[typeddict-item]
    sys.exit(list_agents(gateway, wanted, as_json=as_json, watch=watch))


@cli.command(short_help="Show an agent with all of its instances.")
@click.argument("type_", metavar="TYPE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_namespace
@with_gateway
def describe(type_: str, as_json: bool, namespace: str, gateway: Gateway) -> None:
    """Show the agents of a TYPE with what routing knows of their instances: state,
    circuit, calls in flight, latency and weight, as one replica of the gateway sees them."""
    from switchboard_cli.listing import describe_agent

    sys.exit(describe_agent(gateway, type_, namespace, as_json))


@cli.command(short_help="Show the instances of all pools with their work.")
@click.argument("node", metavar="[AGENTNODE]", default="")
@click.option("--type", "-t", "type_", metavar="TYPE", default="", help="Only instances that host this type.")
@click.option("--capability", "-c", metavar="NAME", default="", help="Only those with this capability.")
@click.option("--state", metavar="STATE", default="", help="Only Starting, Up, Degraded, Draining or Down ones.")
@click.option("--zone", metavar="ZONE", default="", help="Only those in this zone.")
@click.option("--namespace", "-n", metavar="NAME", default="", help="Only those of this namespace.  [default: all]")
@click.option("--watch", "-w", is_flag=True, help="Print them again every two seconds, until Ctrl-C.")
@click.option("--output", "-o", type=click.Choice(["wide"]), help="wide: all columns on a narrow terminal, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one instance a line.")
@with_gateway
def top(
    node: str, type_: str, watch: bool, output: str | None, as_json: bool, gateway: Gateway, **filters: str
) -> None:
    """Show the instances of AGENTNODE, or of all, with their work right now, as the operator's registry has it.

    A terminal shows the columns for which it is wide enough; elsewhere, and with --output wide, there are all."""
    from switchboard.listing import InstanceFilter
    from switchboard_cli.top import show_instances

    wanted = InstanceFilter(node=node, type=type_, **filters)  # type: ignore[typeddict-item]
    sys.exit(show_instances(gateway, wanted, as_json=as_json, watch=watch, wide=output == "wide"))


def _read_text(text: str | None) -> str | bytes:
    return sys.stdin.buffer.read() if text is None or text == "-" else text


def _call_options(timeout: float | None, namespace: str) -> "CallOptions":
    options: CallOptions = {"timeout_s": timeout} if timeout else {}
    if namespace:
        options["namespace"] = namespace
    return options


def main() -> None:
    """Entry point of `switchboard` and, by its name, of `kubectl switchboard`."""
    # gRPC's core writes lines of its own about each try that failed; what is wrong is told in one
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    name = Path(sys.argv[0]).name
    cli(prog_name="kubectl switchboard" if name.startswith("kubectl-") else "switchboard")


if __name__ == "__main__":
    main()
