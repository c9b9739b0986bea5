"""What is reckoned from the calls of a load."""

from live.outcomes import OK, Outcome, figures_of, longest_gap, parse_line


def outcome(sent_s: float, *, latency_s: float = 0.01, code: str = OK, delivered: str = "", by: str = "a") -> Outcome:
    return Outcome(sent_s, latency_s, 0.0, code, delivered, by)


def test_an_outcome_is_read_as_it_was_written() -> None:
    for written in (outcome(1.5), outcome(2.25, latency_s=0.5, code="NODE_UNAVAILABLE", delivered="MAYBE", by="")):
        assert parse_line(written.to_line()) == written


def test_figures_count_shares_failures_and_the_longest_gap() -> None:
    answered = [outcome(number / 10, by="a" if number % 4 else "b") for number in range(100)]
    failed = [outcome(20.0, code="NODE_UNAVAILABLE", delivered="MAYBE", by="")]

    figures = figures_of([*answered, outcome(15.0, latency_s=1.0), *failed])

    assert (figures.calls, figures.answered) == (102, 101)
    assert figures.failed == {"NODE_UNAVAILABLE delivered=MAYBE": 1}
    assert figures.share("b") == 25 / 101
    assert (round(figures.p50_ms), round(figures.max_ms)) == (10, 1000)
    assert round(figures.gap_s, 3) == 6.09
    assert round(figures.per_s, 2) == 5.05


def test_figures_of_nothing_are_nought() -> None:
    figures = figures_of([])

    assert (figures.calls, figures.p99_ms, figures.gap_s, figures.share("a")) == (0, 0.0, 0.0, 0.0)
    assert longest_gap([1.0]) == 0.0
