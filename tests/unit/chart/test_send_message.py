"""The client of `helm test` succeeds on the right answer alone, and tells why it has none; the agent repeats."""

from collections.abc import Callable, Iterable
from types import ModuleType

import pytest


@pytest.fixture
def client(load_file: Callable[[str], ModuleType]) -> ModuleType:
    return load_file("charts/switchboard/files/test/send_message.py")


def times(count: int) -> Callable[[], bool]:
    """There is time for so many tries."""
    left = iter([True] * count)
    return lambda: next(left, False)


def no_wait() -> None:
    return None


def test_an_echo_is_success(client: ModuleType) -> None:
    assert client.retry_until_answered(lambda text: text, times(1), no_wait) is None


def test_a_refusal_is_tried_again(client: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    refusals: Iterable[str] = iter(["HTTP 404: not yet known", "HTTP 404: not yet known", "HTTP 503: starting"])

    def send(text: str) -> str:
        reason = next(refusals, None)
        if reason:
            raise client.NotAnsweredError(reason)
        return text

    assert client.retry_until_answered(send, times(9), no_wait) is None
    assert capsys.readouterr().err.splitlines() == ["not yet: HTTP 404: not yet known", "not yet: HTTP 503: starting"]


def test_another_text_is_no_answer(client: ModuleType) -> None:
    reason = client.retry_until_answered(lambda _: "something else", times(3), no_wait)
    assert reason == "the answer is not what was sent: 'something else'"


def test_the_answer_to_an_earlier_try_is_no_answer(client: ModuleType) -> None:
    sent: list[str] = []

    def send(text: str) -> str:
        sent.append(text)
        return sent[0] if len(sent) > 1 else "none"

    assert "not what was sent" in client.retry_until_answered(send, times(3), no_wait)


def test_time_that_is_up_at_once_is_a_failure(client: ModuleType) -> None:
    assert client.retry_until_answered(lambda text: text, times(0), no_wait) is not None


async def test_the_agent_repeats_what_it_is_sent(load_file: Callable[[str], ModuleType]) -> None:
    agent = load_file("charts/switchboard/files/test/helm_test_agent.py")
    assert await agent.echo("as it is") == "as it is"
