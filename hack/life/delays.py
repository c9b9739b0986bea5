"""How long the steps of a run took, and whether it kept what is promised. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from live.outcomes import OK, Outcome

from life.moments import Record, first_answers, had_work, raised_at, told_to_go

# A heartbeat's interval: by so much the number may be older than the autoscaler's look at it
HEARTBEAT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Steps:
    """What the run did itself. load: the calls of the load; calls with a name of their own are not among them."""

    held: Outcome
    long: Outcome
    load: Sequence[Outcome]
    sync_s: float  # how often the cluster's autoscaler looks

    @property
    def calls(self) -> list[Outcome]:
        return [self.held, self.long, *self.load]

    @property
    def load_began_s(self) -> float:
        return min(call.sent_s for call in self.load)

    @property
    def load_ended_s(self) -> float:
        return max(call.ended_s for call in self.load)


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that a run must show. seen: what it showed."""

    text: str
    holds: bool
    seen: str = ""


def delays(record: Record, steps: Steps) -> list[tuple[str, str, float]]:
    """From, to, seconds."""
    began, ended = steps.load_began_s, steps.load_ended_s
    woken = raised_at(record.nodes, steps.held.sent_s)
    newcomers = [moment.at_s for moment in first_answers(steps.calls) if moment.at_s > began]
    lowered = next(seen.at_s for seen in record.nodes if seen.at_s > ended and seen.object["spec"]["replicas"] == 1)
    went = sorted(told_to_go(record.pods).values())
    return [
        ("a call to the sleeping pool", "an instance is wanted", woken - steps.held.sent_s),
        ("the same", "its answer", steps.held.latency_s),
        ("the load's first call", "more instances are wanted", raised_at(record.nodes, began) - began),
        ("the same", "the first answer of a new instance", min(newcomers) - began),
        ("the same", "answers of all instances", max(newcomers) - began),
        ("the load's last answer", "one instance is wanted", lowered - ended),
        ("the same", "the idle pods are told to go", went[0] - ended),
        ("the long call's answer", "the pool gives up its last pod", went[-1] - steps.long.ended_s),
    ]


def claims(record: Record, steps: Steps) -> Iterator[Claim]:
    """What must hold of the run."""
    raised_s = raised_at(record.nodes, steps.load_began_s) - steps.load_began_s
    allowed_s = steps.sync_s + HEARTBEAT_S
    text = f"the HPA raised desired {raised_s:.1f} s after the load step: one sync of {steps.sync_s:g} s + 2 s at most"
    yield Claim(text, raised_s <= allowed_s)
    failed = [call.code for call in steps.calls if call.code != OK]
    yield Claim(f"all {len(steps.calls)} calls were answered, each once", not failed, str(failed[:5]))
    went = told_to_go(record.pods)
    early = {name for name, at_s in went.items() if at_s < steps.long.ended_s}
    yield Claim("two pods went while the long call ran, and not the one that had it", _are_two_others(early, steps))
    busy = [name for name, at_s in went.items() if had_work(steps.calls, name, at_s)]
    yield Claim("every pod was idle when it was told to go", not busy, str(busy))


def _are_two_others(early: set[str], steps: Steps) -> bool:
    return len(early) == 2 and steps.long.instance not in early
