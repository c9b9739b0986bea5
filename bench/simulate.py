"""`make simulate`: what each strategy does, by simulation, with the code that the gateway runs.

Nothing is measured on this machine, so the same seed prints the same table everywhere.
"""

import argparse
from dataclasses import replace
from typing import Final

from bench.simulation import CONCURRENCY, SERVICE_S, Scenario, Simulation, share_of_keys_moved
from switchboard_routing.policy import Strategy

HEDGE_S: Final = 3 * SERVICE_S  # 95 of 100 calls on an instance that is well are answered by then


def describe(strategy: Strategy, seconds: float, seed: int) -> list[str]:
    """One row of the table."""
    equal = Scenario(strategy, seconds=seconds, seed=seed)
    calm = Simulation(equal).run()
    hurt = Simulation(replace(equal, slow=0)).run()
    low = Simulation(replace(equal, zone="a", load=0.2)).run()
    high = Simulation(replace(equal, zone="a", load=0.7)).run()
    return [
        strategy.value,
        f"{calm.imbalance:.2f}",
        f"{calm.p99_ms:.0f} ms",
        f"{hurt.p99_ms:.0f} ms",
        f"{hurt.served['pod-00'] / sum(hurt.served.values()):.1%}",
        f"{share_of_keys_moved(strategy, seed):.0%}",
        " ".join(f"{zone} {share:.0%}" for zone, share in low.zones.items()),
        " ".join(f"{zone} {share:.0%}" for zone, share in high.zones.items()),
    ]


def describe_hedging(strategy: Strategy, seconds: float, seed: int) -> list[str]:
    """One row of the second table: one instance is ten times slower, and answers that take long are hedged."""
    hurt = Scenario(strategy, seconds=seconds, seed=seed, slow=0)
    without = Simulation(hurt).run()
    with_ = Simulation(replace(hurt, hedge_s=HEDGE_S)).run()
    calm = Simulation(replace(hurt, slow=None, hedge_s=HEDGE_S)).run()
    return [
        strategy.value,
        f"{without.p99_ms:.0f} ms",
        f"{with_.p99_ms:.0f} ms",
        f"{without.latencies[int(len(without.latencies) * 0.999)] * 1000:.0f} ms",
        f"{with_.latencies[int(len(with_.latencies) * 0.999)] * 1000:.0f} ms",
        f"{with_.hedges / sum(with_.served.values()):.1%}",
        f"{calm.p99_ms:.0f} ms",
    ]


HEDGE_HEADINGS: Final = [
    "strategy",
    "p99",
    "p99, hedged",
    "p99.9",
    "p99.9, hedged",
    "calls hedged",
    "p99, all equal, hedged",
]
HEADINGS: Final = [
    "strategy",
    "max/mean",
    "p99, all equal",
    "p99, one 10× slower",
    "share of the slow one",
    "keys moved 10→11",
    "zones at 20 % load",
    "zones at 70 % load",
]


def render(rows: list[list[str]], headings: list[str] = HEADINGS) -> str:
    """The rows as a table of Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="simulated time of each scenario (20)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        f"10 instances, {CONCURRENCY} calls at once each, {SERVICE_S * 1000:.0f} ms per call on average (exponential), "
        f"calls at random (Poisson) at 60 % load,\ngateway in zone a; 4 instances in zone a, 3 in b, 3 in c; "
        f"{options.seconds:g} simulated seconds, seed {options.seed}\n"
    )
    print(render([describe(strategy, options.seconds, options.seed) for strategy in Strategy]))
    print(f"\nOne instance 10× slower; hedging after {HEDGE_S * 1000:.0f} ms, two attempts at most, loser cancelled:\n")
    rows = [describe_hedging(strategy, options.seconds, options.seed) for strategy in Strategy]
    print(render(rows, HEDGE_HEADINGS))


if __name__ == "__main__":
    main()
