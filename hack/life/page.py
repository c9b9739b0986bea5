"""The recorded run as a part of docs/explanation/life-of-a-pool.md. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from life.delays import Claim, Steps, claims, delays
from life.moments import Record, Row, time_line
from life.watching import Line, Seen

Json = dict[str, Any]
BEGIN: Final = "<!-- run: written by make life -->"
END: Final = "<!-- end of run -->"


@dataclass(frozen=True, slots=True)
class Run:
    """A run with all that its page shows. began_s: when its resources were applied; wide: `kubectl get -o wide`."""

    began_s: float
    conditions: str
    manifest: str
    record: Record
    steps: Steps
    wide: Sequence[Line]
    top: str


def render(run: Run) -> list[str]:
    """The lines of the page."""
    return [
        run.conditions,
        "",
        "```yaml",
        *run.manifest.strip().splitlines(),
        "```",
        "",
        "## What it shows",
        "",
        *(f"* {claim_line(claim)}" for claim in claims(run.record, run.steps)),
        "",
        "| from | to | s |",
        "|---|---|---|",
        *(f"| {begin} | {end} | {seconds:.1f} |" for begin, end, seconds in delays(run.record, run.steps)),
        "",
        "## The time line",
        "",
        "| s | event | wanted | ready | going | in flight |",
        "|---|---|---|---|---|---|",
        *(row_line(row, run.began_s) for row in time_line(run.record)),
        "",
        *_as_kubectl_shows_it(run),
    ]


def _as_kubectl_shows_it(run: Run) -> Iterator[str]:
    yield "## As kubectl shows it"
    yield ""
    yield "`kubectl get agentnodes -o wide --watch`, with the second of the run before each line:"
    yield ""
    yield from ("```", *wide_lines(run.wide, run.began_s), "```", "")
    yield "`switchboard top writers`, when the load had just ended and one long call was left:"
    yield ""
    yield from ("```", *run.top.strip().splitlines(), "```")
    for title, seen in chapters(run.record.nodes):
        yield ""
        yield f"`kubectl get agentnode writers -o yaml` {title} (second {seen.at_s - run.began_s:.1f}), its status:"
        yield ""
        yield from ("```yaml", *status_lines(seen.object), "```")


def claim_line(claim: Claim) -> str:
    """A claim as a line; one that does not hold says so."""
    return claim.text if claim.holds else f"**not so**: {claim.text} {claim.seen}"


def row_line(row: Row, began_s: float) -> str:
    """A line of the table."""
    cells = [f"{row.at_s - began_s:.1f}", row.event, row.wanted, row.ready, row.going, row.in_flight]
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def wide_lines(lines: Iterable[Line], began_s: float) -> list[str]:
    """The lines of a watch's table, without those that tell nothing new but the age."""
    shown: list[str] = []
    former: list[str] = []
    age = -1
    for line in lines:
        words = line.text.split()
        if words[:1] == ["NAME"]:
            age = words.index("AGE")
            shown.append(f"{'s':>5}  {line.text.rstrip()}")
            continue
        told = [word for number, word in enumerate(words) if number != age]
        if told != former:
            shown.append(f"{line.at_s - began_s:5.1f}  {line.text.rstrip()}")
        former = told
    return shown


def chapters(nodes: Sequence[Seen]) -> Iterator[tuple[str, Seen]]:
    """The AgentNode at the turns of its life: the first time that each was seen, in this order."""
    turns: tuple[tuple[str, Callable[[Json], bool]], ...] = (
        ("of the sleeping pool", lambda status: ready_reason(status) == "ScaledToZero"),
        ("while the first pod starts", lambda status: status.get("counts", {}).get("starting", 0) > 0),
        ("when it is ready", lambda status: status.get("readyReplicas", 0) == 1 and is_ready(status)),
        ("when it is scaled", lambda status: status.get("readyReplicas", 0) == 3 and is_ready(status)),
        ("while idle pods drain", lambda status: status.get("counts", {}).get("draining", 0) > 0),
    )
    left = iter(nodes)
    for title, holds in turns:
        seen = next((seen for seen in left if holds(seen.object.get("status", {}))), None)
        if seen is not None:
            yield title, seen


def ready_reason(status: Json) -> str:
    """The reason of condition Ready."""
    return str(_ready(status).get("reason", ""))


def is_ready(status: Json) -> bool:
    """Whether condition Ready is True."""
    return _ready(status).get("status") == "True"


def _ready(status: Json) -> Json:
    return next((found for found in status.get("conditions", ()) if found["type"] == "Ready"), {})


def status_lines(node: Json) -> list[str]:
    """The status of an AgentNode as YAML, one line for each condition and instance; times of transitions left out."""
    status = node.get("status", {})
    short: Json = {
        **status,
        "conditions": [
            _Flow((name, told[name]) for name in ("type", "status", "reason", "message") if name in told)
            for told in status.get("conditions", ())
        ],
        "counts": _Flow(status.get("counts", {})),
        "instances": [
            _Flow({**told, "agents": [_Flow(found) for found in told.get("agents", ())]})
            for told in status.get("instances", ())
        ],
    }
    text: str = yaml.dump(short, Dumper=_Dumper, width=1000, sort_keys=False)
    return text.strip().splitlines()


class _Flow(dict[str, Any]):
    """A mapping that is written in one line."""


class _Dumper(yaml.SafeDumper):
    """Knows one-line mappings, and writes no references to what stands twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_flow(dumper: _Dumper, data: _Flow) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True)


yaml.add_representer(_Flow, _represent_flow, Dumper=_Dumper)
