"""What `switchboard dev` is asked to run, and how it shows what happens."""

from pathlib import Path
from typing import Any

import pytest

from switchboard_cli.dev_feed import describe
from switchboard_cli.dev_target import (
    CodeTarget,
    DevError,
    HttpTarget,
    defines_agent,
    find_target,
    read_http_target,
)

AGENT = "from switchboard import agent\n\n@agent\nasync def f(text: str) -> str:\n    return text\n"


def test_a_file_and_a_module_are_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "app.py").write_text(AGENT)
    assert find_target("sub/app.py", tmp_path) == CodeTarget(tmp_path / "sub", "app")
    assert find_target("sub.app:f", tmp_path) == CodeTarget(tmp_path, "sub.app", "sub.app:f")
    assert find_target("sub/app.py:f", tmp_path) == CodeTarget(tmp_path / "sub", "app", "app:f")


@pytest.mark.parametrize("text", ["app:", ":f", "app:f g", ":"])
def test_half_of_a_module_and_attribute_is_refused_with_an_example(tmp_path: Path, text: str) -> None:
    with pytest.raises(DevError, match="write MODULE:ATTR, for example app:summarize"):
        find_target(text, tmp_path)


SOURCES = [
    pytest.param(AGENT, True, id="@agent"),
    pytest.param(AGENT.replace("@agent", "@agent('x')"), True, id="@agent(…)"),
    pytest.param("import switchboard as s\n@s.agent\nclass C: ...\n", True, id="@module.agent on a class"),
    pytest.param(
        AGENT.replace("import agent", "import agent as a").replace("@agent", "@a"), True, id="by another name"
    ),
    pytest.param("def agent():\n    pass\n", False, id="a function of that name"),
    pytest.param("", False, id="nothing"),
    pytest.param("def f(:\n", True, id="text that does not parse is left to the host"),
]


@pytest.mark.parametrize(("source", "expected"), SOURCES)
def test_agents_are_seen_in_the_text(source: str, expected: bool) -> None:
    assert defines_agent(source) is expected


def test_an_http_server_is_read() -> None:
    assert read_http_target("translator=8000") == HttpTarget("translator", 8000)
    assert read_http_target("translator=8000/a/b") == HttpTarget("translator", 8000, "/a/b")


@pytest.mark.parametrize("text", ["translator", "translator=", "translator=x", "translator=70000", "Trans=8000"])
def test_an_http_server_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(DevError, match=f"--http {text}"):
        read_http_target(text)


RECORDS: list[Any] = [
    pytest.param({"message": "call", "agent": "a", "key": "k", "ms": 1.5, "code": "OK"}, "a/k ok 1.5 ms", id="a call"),
    pytest.param({"message": "call", "agent": "a", "sender": "b", "ms": 1, "code": "PROCESSING_ERROR", "error": "E: x"},
                 "a from b PROCESSING_ERROR 1 ms  E: x", id="a call that failed"),
    pytest.param({"message": "call refused", "agent": "b", "code": "AGENT_NOT_FOUND", "error": "no"},
                 "b AGENT_NOT_FOUND  no", id="a call that no handler got"),
    pytest.param({"message": "hello", "logger": "agent.a"}, "a: hello", id="what an agent logs"),
    pytest.param({"message": "agent failed to load", "reason": "app:f: no", "exception": 'x\n  File "/lib/a"\n'
                  '  File "/code/app.py", line 1\nE'}, 'app:f: no\n      File "/code/app.py", line 1\n    E',
                 id="a fault"),
    pytest.param({"message": "linked", "logger": "sidecar"}, None, id="what only we care for"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "expected"), RECORDS)
def test_a_log_record_becomes_a_line(record: dict[str, Any], expected: str | None) -> None:
    from click import unstyle

    line = describe({"time": "2026-11-21T10:00:00.123Z", **record}, "/code")
    assert (unstyle(line).removeprefix("10:00:00.123 ") if line else line) == expected
