"""The client of `helm test`: sends one message through the gateway, again and again until it is answered or time is up.

It runs in a pod without any right on the API server; a refusal is shown once for every new reason.
"""

import json
import os
import pathlib
import ssl
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable

Send = Callable[[str], str]

# Where the chart mounts them, when the gateway asks for a token or speaks TLS
TOKEN_FILE, CA_FILE = "TOKEN_FILE", "CA_FILE"

PAUSE_S = 1.0  # between two tries: the agent's pod needs seconds to start
TRY_TIMEOUT_S = 15.0  # of one try; the gateway itself holds a call while the agent starts


class NotAnsweredError(Exception):
    """This try brought no right answer; the text says what came instead."""


def send(url: str, text: str) -> str:
    """POST the text as the agent's input and return what it answered. Raises NotAnsweredError."""
    body = json.dumps({"input": text}).encode()
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    try:
        if path := os.environ.get(TOKEN_FILE):
            headers["Authorization"] = "Bearer " + pathlib.Path(path).read_text().strip()
        request = urllib.request.Request(url, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=TRY_TIMEOUT_S, context=trust()) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise NotAnsweredError(f"HTTP {error.code}: {error.read(300).decode(errors='replace')}") from error
    except (OSError, ValueError) as error:
        raise NotAnsweredError(f"{type(error).__name__}: {error}") from error
    return str(answer.get("output")) if isinstance(answer, dict) else f"not an object: {answer!r}"


def trust() -> ssl.SSLContext:
    """The CA of the gateway's certificate, or what the system trusts. Raises OSError."""
    path = os.environ.get(CA_FILE, "")
    return ssl.create_default_context(cafile=path if pathlib.Path(path).is_file() else None)


def retry_until_answered(send_text: Send, has_time: Callable[[], bool], wait: Callable[[], None]) -> str | None:
    """None once the agent has repeated our text; when time is up, the last reason why it did not."""
    reason = "there was no time for a single try"
    while has_time():
        text = f"helm test {uuid.uuid4()}"
        try:
            answer = send_text(text)
        except NotAnsweredError as error:
            latest = str(error)
        else:
            if answer == text:
                return None
            latest = f"the answer is not what was sent: {answer!r}"
        if latest != reason:
            sys.stderr.write(f"not yet: {latest}\n")
        reason = latest
        wait()
    return reason


def main() -> int:
    url, timeout_s = os.environ["URL"], float(os.environ["TIMEOUT_SECONDS"])
    start = time.monotonic()
    reason = retry_until_answered(
        lambda text: send(url, text),
        has_time=lambda: time.monotonic() - start < timeout_s,
        wait=lambda: time.sleep(PAUSE_S),
    )
    took_s = time.monotonic() - start
    if reason is None:
        sys.stdout.write(f"ok: the agent answered through {url} after {took_s:.1f} s\n")
        return 0
    sys.stderr.write(f"failed: no answer through {url} in {took_s:.0f} s; the last reason: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
