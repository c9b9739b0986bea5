"""The bytes of a whole HTTP/1.1 answer, as aiohttp writes them. Pure but for the clock of `Dates`."""

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from switchboard_gateway.rest.json_body import JSON
from switchboard_gateway.rest.problems import PROBLEM, Problem

# Not the versions of what it is made of
SERVER: Final = "switchboard"
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
_OK: Final = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\n".encode()


class Dates:
    """The time of day as HTTP writes it, put into words once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True)
        return self._text


def write_json(body: bytes, date: str, *, closes: bool) -> bytes:
    """An answer that is JSON. closes: nothing follows on its connection."""
    return _OK + _rest_of_head(body, date, closes=closes) + body


def write_problem(problem: Problem, date: str, *, closes: bool) -> bytes:
    """An answer that is an error."""
    head = f"HTTP/1.1 {problem.status} {_REASONS.get(problem.status, '')}\r\n"
    head += "".join([f"{name}: {value}\r\n" for name, value in problem.headers.items()])
    head += f"Content-Type: {PROBLEM}\r\n"
    return head.encode() + _rest_of_head(problem.body, date, closes=closes) + problem.body


def _rest_of_head(body: bytes, date: str, *, closes: bool) -> bytes:
    connection = "Connection: close\r\n" if closes else ""
    return f"Content-Length: {len(body)}\r\nDate: {date}\r\nServer: {SERVER}\r\n{connection}\r\n".encode()
