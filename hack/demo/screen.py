"""What the demo shows: lines of at most 80 columns, colour and a running clock on a terminal alone."""

import contextlib
import itertools
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

WIDTH = 80
TICK_S = 0.5
# Shorter steps are not announced where lines cannot be overwritten
WORTH_ANNOUNCING_S = 5.0


class ClaimBroken(Exception):
    """Something that the demo claims does not hold; the text says what was seen instead."""


class Screen:
    """Writes for people. One thread writes; a step's clock runs in another while the first waits."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._began = time.monotonic()
        self._acts = itertools.count(1)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def act(self, title: str) -> None:
        """Begin a part of the demo."""
        self._line("")
        self._line(self._styled("1", f"{next(self._acts)}. {title}"))

    def say(self, text: str = "") -> None:
        self._line(f"   {text}" if text else "")

    def tell(self, text: str) -> None:
        """Say something of any length."""
        for line in textwrap.wrap(text, WIDTH - 3, break_long_words=False):
            self.say(line)

    def claim(self, text: str, holds: object, seen: object = "") -> None:
        """Say something that has been looked up. Raises ClaimBroken when it does not hold."""
        if not holds:
            self._line(f"   {self._styled('31', '✗')} {text}")
            raise ClaimBroken(f"{text}: not so{f'; {seen}' if seen else ''}")
        self._line(f"   {self._styled('32', '✓')} {text}")

    @contextlib.contextmanager
    def step(self, text: str, expected_s: float) -> Iterator[None]:
        """A claim that takes a while to come true; what is inside raises when it does not."""
        stopped, began = threading.Event(), time.monotonic()
        clock = threading.Thread(target=self._tick, args=(text, expected_s, stopped), daemon=True)
        if self._is_terminal:
            clock.start()
        elif expected_s >= WORTH_ANNOUNCING_S:
            self._line(f"   … {text} (about {expected_s:.0f} s)")
        try:
            yield
        finally:
            stopped.set()
            if self._is_terminal:
                clock.join()
                self._out.write("\r\033[K")
        took = f"{time.monotonic() - began:.0f} s"
        self._line(f"   {self._styled('32', '✓')} {text:<{WIDTH - 14}} {took:>6}")

    def table(self, rows: Sequence[Sequence[object]]) -> None:
        """Rows of cells; the first row is the head. Cells are cut where the line would be too long."""
        texts = [[str(cell) for cell in row] for row in rows]
        widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
        for number, row in enumerate(texts):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            line = f"     {line}"[:WIDTH]
            self._line(self._styled("2", line) if number == 0 else line)

    def show(self, command: str, output: str) -> None:
        """A command and what it wrote, cut at the right edge."""
        self._line(self._styled("36", f"   $ {command}"))
        for line in output.rstrip().splitlines():
            self._line(f"   {line.rstrip()}"[:WIDTH])

    def _tick(self, text: str, expected_s: float, stopped: threading.Event) -> None:
        began = time.monotonic()
        while not stopped.wait(TICK_S):
            gone = time.monotonic() - began
            self._out.write(f"\r\033[K   … {text} ({gone:.0f} s of about {expected_s:.0f} s)"[: WIDTH + 4])
            self._out.flush()

    def _line(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()

    def _styled(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._is_terminal else text
