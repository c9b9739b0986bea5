"""Run other programs to their end."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcluster.faults import CommandFailed, PreconditionUnmet

KEPT_LINES = 3  # of a failed program's errors: enough to see the cause, short enough to read


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float | None = None,
) -> str:
    """Return what the program wrote to its standard output.

    Raises CommandFailed with the end of its error output, PreconditionUnmet when there is no such program.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, input=stdin, env=env, cwd=cwd, timeout=timeout_s, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise PreconditionUnmet(f"{words[0]} is not installed: install it and try again") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{summarize(words)} did not end within {timeout_s:.0f} s") from error
    if done.returncode != 0:
        raise CommandFailed(f"{summarize(words)} failed ({done.returncode}): {last_lines(done.stderr or done.stdout)}")
    return done.stdout


def succeeds(argv: Sequence[str | Path], timeout_s: float = 10) -> bool:
    """Tell whether the program ends with status zero."""
    try:
        run(argv, timeout_s=timeout_s)
    except (CommandFailed, PreconditionUnmet):
        return False
    return True


def summarize(words: Sequence[str]) -> str:
    """Name a command by its program and its first words."""
    text = " ".join([Path(words[0]).name, *words[1:4]])
    return text if len(text) <= 60 else text[:59] + "…"


def last_lines(text: str) -> str:
    """Return the end of a program's output as one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-KEPT_LINES:]) or "it wrote nothing"
