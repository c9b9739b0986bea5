"""What the headers of a request say about its call. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from switchboard_gateway.rest.json_body import MAX_TIMEOUT_MS, invalid
from switchboard_wire.v1 import frames_pb2 as pb

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
STRATEGY: Final = "Switchboard-Strategy"
TIMEOUT_MS: Final = "Switchboard-Timeout-Ms"
METADATA_PREFIX: Final = "Switchboard-Metadata-"
MAX_IDEMPOTENCY_KEY: Final = 255
# https://www.w3.org/TR/trace-context/: anything else there is ignored, never refused
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
MAX_TRACESTATE: Final = 512


def apply_headers(headers: Mapping[str, str], opened: pb.Open) -> None:
    """Set idempotency key, trace, strategy and deadline of a call. Raises SwitchboardError VALIDATION_FAILED.

    headers: a mapping that ignores the case of names. A call with an idempotency key may be delivered twice.
    """
    key = headers.get(IDEMPOTENCY_KEY)
    if key is not None:
        if not key or len(key) > MAX_IDEMPOTENCY_KEY or not (key.isascii() and key.isprintable()):
            raise invalid(f"{IDEMPOTENCY_KEY} must be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters")
        opened.idempotency_key = key
        opened.idempotent = True
    strategy = headers.get(STRATEGY)
    if strategy is not None:
        if not strategy.isascii():
            raise invalid(f"{STRATEGY} is no strategy: it has characters beyond ASCII")
        opened.strategy = strategy
    timeout = headers.get(TIMEOUT_MS)
    if timeout is not None:
        opened.deadline_ms = _timeout(timeout)
    traceparent = headers.get("traceparent")
    if traceparent is not None and valid_trace(traceparent):
        opened.traceparent = traceparent
        tracestate = headers.get("tracestate", "")
        if tracestate.isascii() and len(tracestate) <= MAX_TRACESTATE:
            opened.tracestate = tracestate


def valid_trace(traceparent: str) -> bool:
    """Whether it is one of W3C trace context."""
    return traceparent.isascii() and _TRACEPARENT.fullmatch(traceparent) is not None


def _timeout(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= MAX_TIMEOUT_MS):
        raise invalid(f"{TIMEOUT_MS} must be a whole number of milliseconds from 1 to {MAX_TIMEOUT_MS}")
    return int(text)


def read_metadata(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The `Switchboard-Metadata-*` headers of a raw request, by their names in lower case without the prefix."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name[: len(METADATA_PREFIX)].title() != METADATA_PREFIX:
            continue
        if not (name.isprintable() and value.isprintable()):  # a byte that is no UTF-8 is not printable either
            raise invalid(f"{name[:80].encode('ascii', 'replace').decode()} must be printable text")
        found[name[len(METADATA_PREFIX) :].lower()] = value
    return found


def wants_events(accept: str) -> bool:
    """Whether an Accept header asks for server-sent events."""
    return "text/event-stream" in accept.lower()
