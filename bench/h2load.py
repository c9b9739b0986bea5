"""h2load, the load generator of nghttp2, as the C client of HTTP/2 and HTTP/1.1 servers."""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as File

from bench.building import require
from bench.load import Measured, Tally, Task, summarize
from bench.paths import PathFailed

PACKAGE = "nghttp2-client"
OK = "200"


@dataclass(frozen=True, slots=True)
class Request:
    """What is posted. answer_bytes: at least so many bytes of body come with a good answer.

    h2load sees no gRPC status, and an answer that is an error has no body: so the bytes tell.
    """

    url: str
    body: bytes
    headers: Sequence[str]
    answer_bytes: int
    http1: bool = False


def load(request: Request, task: Task, max_connections: int) -> Measured:
    """A closed loop over so many connections at most. Raises PathFailed, Unavailable."""
    (program,) = require(PACKAGE, "h2load")
    # HTTP/1.1 has one call under way on a connection
    connections = task.in_flight if request.http1 else min(task.in_flight, max_connections)
    streams = 1 if request.http1 else -(-task.in_flight // connections)
    with tempfile.TemporaryDirectory() as folder:
        body, log = File(folder, "body"), File(folder, "log")
        body.write_bytes(request.body)
        words = [program, "-c", connections, "-m", streams, "-t", 1, *(["--h1"] if request.http1 else [])]
        words += ["-D", f"{int(task.seconds * 1000)}ms", "--warm-up-time", f"{int(task.seconds * 100)}ms"]
        words += ["-d", body, f"--log-file={log}", *(word for header in request.headers for word in ("-H", header))]
        done = subprocess.run([*map(str, words), request.url], capture_output=True, text=True, check=False)
        if done.returncode:
            raise PathFailed(f"h2load: {done.stderr.strip()[-200:]}")
        return read_figures(done.stdout, log.read_text(), request.answer_bytes, task.seconds)


def read_figures(output: str, log: str, answer_bytes: int, seconds: float) -> Measured:
    """The figures of one run. log: a line per request: when it started, its status, its microseconds.

    Raises PathFailed when answers were missing, or too short to be good ones.
    """
    done, succeeded = _number(output, r"(\d+) done"), _number(output, r"(\d+) succeeded")
    received = _number(output, r"headers .*\((\d+)\) data")
    if not succeeded or received < succeeded * answer_bytes:
        raise PathFailed(f"{succeeded} answers had {received} bytes: {answer_bytes} each were expected")
    rows = [line.split("\t") for line in log.splitlines()]
    latencies = [int(micros) / 1e6 for _, status, micros in rows if status == OK]
    failures = Counter({"NotSucceeded": done - succeeded} if done > succeeded else {})
    return summarize(Tally(latencies, succeeded, failures), seconds)


def _number(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise PathFailed(f"h2load wrote no {pattern!r}: {text[-200:]}")
    return int(found[1])
