"""What the demo shows fits a terminal, and a claim that does not hold ends it."""

import io

import pytest
from demo.acts import narrow
from demo.screen import WIDTH, ClaimBroken, Screen

KUBECTL = """\
NAME                                READY   UP    AGE
agentnode.switchboard.dev/workers   True    3     8s

NAME                               TYPE         READY
agent.switchboard.dev/classifier   classifier   True
agent.switchboard.dev/new                       False
"""


def test_names_lose_their_group_and_columns_close_up():
    assert [line.rstrip() for line in narrow(KUBECTL).splitlines()] == [
        "NAME               READY  UP  AGE",
        "agentnode/workers  True   3   8s",
        "NAME              TYPE        READY",
        "agent/classifier  classifier  True",
        "agent/new                     False",
    ]


def test_a_claim_that_holds_is_ticked_and_one_that_does_not_ends_the_demo():
    out = io.StringIO()
    screen = Screen(out)

    screen.claim("two zones", True)
    with pytest.raises(ClaimBroken, match="three zones: not so; there are 2"):
        screen.claim("three zones", False, "there are 2")

    assert out.getvalue() == "   ✓ two zones\n   ✗ three zones\n"


def test_a_step_that_fails_is_not_ticked():
    out = io.StringIO()

    with pytest.raises(TimeoutError), Screen(out).step("a pod", 10):
        raise TimeoutError

    assert "✓" not in out.getvalue()


def test_what_is_shown_is_cut_and_what_is_told_is_wrapped():
    out = io.StringIO()
    screen = Screen(out)

    screen.show("kubectl get", "x" * 200)
    screen.table([("a", "b" * 100), ("c", "d")])
    screen.tell("word " * 60)

    lines = out.getvalue().splitlines()
    assert max(len(line) for line in lines) == WIDTH
    assert out.getvalue().count("word") == 60


def test_there_is_no_colour_but_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    plain, terminal = io.StringIO(), Terminal()
    for out in (plain, terminal):
        Screen(out).act("One")

    assert "\033" not in plain.getvalue()
    assert "\033[1m" in terminal.getvalue()
