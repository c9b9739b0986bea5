"""What a journey that disturbs neither gateways nor instances lets pass."""

import io

import pytest
from live.outcomes import OK, Outcome
from live.steady import Steady
from reliability import Pair, require_undisturbed

CALLS = 200
FEW, MANY = CALLS // 20, CALLS // 20 + 1
LOST = "NODE_UNAVAILABLE"


def load(failed: int, code: str = LOST) -> Steady:
    """A load that has ended."""
    output = io.StringIO()
    output.close()
    codes = [code] * failed + [OK] * (CALLS - failed)
    return Steady(output, CALLS, _ended=[Outcome(n / 100, 0.01, 0.0, c, "MAYBE", "a") for n, c in enumerate(codes)])


@pytest.mark.parametrize(
    ("safe", "once", "is_measured", "passes"),
    [
        (load(0), load(0), True, True),
        (load(0), load(1), True, False),
        (load(0), load(FEW), False, True),
        (load(0), load(FEW, "DEADLINE_EXCEEDED"), False, True),
        (load(0), load(MANY), False, False),
        (load(0), load(1, "HANDLER_ERROR"), False, False),
        (load(1), load(0), False, False),
    ],
)
def test_calls_may_be_lost_to_a_busy_machine_but_few_and_only_at_most_once(
    safe: Steady, once: Steady, is_measured: bool, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RELIABILITY_OUT", raising=False)
    if is_measured:
        monkeypatch.setenv("RELIABILITY_OUT", "figures.json")
    if passes:
        require_undisturbed(Pair(safe, once))
    else:
        with pytest.raises(AssertionError):
            require_undisturbed(Pair(safe, once))
