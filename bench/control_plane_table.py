"""What the control plane's benchmark found, as tables of Markdown, and the targets beside it."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

Figures = dict[str, Any]

READY_S: Final = 60.0
TIMES_PLAIN: Final = 1.5
WRITES_PER_AGENT: Final = 4.0
STEADY_WRITES_PER_S: Final = 1.0
ANSWER_MS: Final = 500.0


def judge(found: Figures) -> list[tuple[str, str, str, bool]]:
    """(what, figure, target, met) of each promise."""
    ours, plain, calm, warm_ms = found["ours"], found["plain"], found["steady"], found["warm"]["p99_ms"]
    ready_s, ratio = ours["ready_s"], ours["ready_s"] / plain["ready_s"]
    writes, calm_writes = ours["writes_per_agent"], calm["writes_per_s"]
    return [
        (f"{ours['agents']:,} Agents ready", f"{ready_s:.1f} s", f"< {READY_S:.0f} s", ready_s < READY_S),
        (
            "the same beside plain apply",
            f"{ratio:.2f} × {plain['ready_s']:.1f} s",
            f"≤ {TIMES_PLAIN} ×",
            ratio <= TIMES_PLAIN,
        ),
        ("writes per Agent", f"{writes:.2f}", f"≤ {WRITES_PER_AGENT:.0f}", writes <= WRITES_PER_AGENT),
        (
            f"writes at rest, {calm['instances']:,} instances",
            f"{calm_writes:.2f}/s",
            f"≤ {STEADY_WRITES_PER_S:.0f}/s",
            calm_writes <= STEADY_WRITES_PER_S,
        ),
        ("new Agent answers, p99", f"{warm_ms:.0f} ms", f"≤ {ANSWER_MS:.0f} ms", warm_ms <= ANSWER_MS),
    ]


def render(found: Figures) -> str:
    """The targets, the fleets, the time at rest and the edits."""
    targets = [(what, figure, target, "yes" if met else "**no**") for what, figure, target, met in judge(found)]
    parts = [
        _table(("target", "found", "asked", "met"), targets),
        _table(_FLEET, _fleets(found)),
        _table(_REST, [_rest(name, found[name]) for name in ("steady", "steady large") if name in found]),
        _table(("latency", "n", "p50 ms", "p99 ms"), _latencies(found)),
        _writes(found["ours"]),
    ]
    return "\n\n".join(parts)


_FLEET: Final = (
    "fleet",
    "applied s",
    "ready s",
    "× plain",
    "CPU s until then",
    "× plain",
    "of it operator",
    "fake sidecars",
    "everywhere s",
    "reconciles/Agent",
    "writes/Agent",
    "writes/s",
    "operator MiB",
    "peak",
)
_REST: Final = ("at rest", "instances", "heartbeats/s", "writes/s", "operator CPU", "operator MiB")


def _fleets(found: Figures) -> Iterable[Sequence[str]]:
    for suffix in ("", " large"):
        if (ours := found.get(f"ours{suffix}")) is None:
            continue
        plain = found[f"plain{suffix}"]
        size = f"{ours['agents']:,} Agents, {ours['pods']:,} pods"
        cpu_s = ours["plane_cpu_s"] + ours["operator_ready_cpu_s"]
        plain_figures = (
            f"{plain['applied_s']:.1f}",
            f"{plain['ready_s']:.1f}",
            "1",
            f"{plain['plane_cpu_s']:.1f}",
            "1",
        )
        yield (f"plain kubectl, {size}", *plain_figures, *[""] * 8)
        yield (
            f"operator, {size}",
            f"{ours['applied_s']:.1f}",
            f"{ours['ready_s']:.1f}",
            f"{ours['ready_s'] / plain['ready_s']:.2f}",
            f"{cpu_s:.1f}",
            f"{cpu_s / plain['plane_cpu_s']:.2f}",
            f"{ours['operator_ready_cpu_s']:.1f}",
            f"{ours['sidecars_cpu_s']:.1f}",
            f"{ours['ready_everywhere_s']:.1f}",
            f"{ours['reconciles'] / ours['agents']:.2f}",
            f"{ours['writes_per_agent']:.2f}",
            f"{ours['writes_per_s']:.0f}",
            f"{ours['operator_rss_mib']:.0f}",
            f"{ours['operator_peak_mib']:.0f}",
        )


def _rest(name: str, row: Figures) -> Sequence[str]:
    return (
        "all fleets" if name.endswith("large") else "the first",
        f"{row['instances']:,}",
        f"{row['heartbeats_per_s']:.0f}",
        f"{row['writes_per_s']:.2f}",
        f"{row['operator_cpu_share']:.0%} of a core",
        f"{row['operator_rss_mib']:.0f}",
    )


def _latencies(found: Figures) -> Iterable[Sequence[str]]:
    edits, warm = found["edits"], found["warm"]
    yield (
        "edit of an AgentNode → its Deployment",
        f"{edits['edits']}",
        f"{edits['p50_ms']:.0f}",
        f"{edits['p99_ms']:.0f}",
    )
    yield (
        "`kubectl apply` of an Agent → its answer",
        f"{warm['agents']}",
        f"{warm['p50_ms']:.0f}",
        f"{warm['p99_ms']:.0f}",
    )


def _writes(ours: Figures) -> str:
    by = sorted(ours["writes_by"].items(), key=lambda item: -item[1])
    told = ", ".join(f"{kind} {count / ours['agents']:.2f}" for kind, count in by)
    return f"Writes per Agent of the first fleet: {told}."


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
