"""Answers kept for a while under their idempotency keys. Pure: no clock, no I/O.

Bounded in number, in bytes and in time; beyond them the oldest goes first, and its duplicate is handled anew.
"""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from switchboard_wire.v1 import frames_pb2 as pb

# A client that tries again does so within its own deadline, a person within minutes
KEEP_S: Final = 300.0
# Of the sidecar's 128 MiB these may be a small part, whatever the payloads are
MAX_ANSWERS: Final = 2000
MAX_BYTES: Final = 8 * 1024 * 1024
# What an answer of no bytes costs in memory, about
OVERHEAD_BYTES: Final = 300

Scope = bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """close: the CLOSE frame, serialized: a frame object keeps the memory of the whole batch that it came in.

    print: of the request that was answered. until: when it is forgotten.
    """

    close: bytes
    print: bytes
    until: float

    @property
    def size(self) -> int:
        return len(self.close) + OVERHEAD_BYTES


class AnswersSeen:
    """scope → answer, the oldest first."""

    __slots__ = ("_answers", "_keep_s", "_max_answers", "_max_bytes", "bytes")

    def __init__(self, max_answers: int = MAX_ANSWERS, max_bytes: int = MAX_BYTES, keep_s: float = KEEP_S) -> None:
        self._answers: OrderedDict[Scope, Answer] = OrderedDict()
        self._max_answers = max_answers
        self._max_bytes = max_bytes
        self._keep_s = keep_s
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, scope: Scope, now: float) -> Answer | None:
        """The answer that is remembered, if its time is not over."""
        self._forget_old(now)
        return self._answers.get(scope)

    def remember(self, scope: Scope, close: pb.Frame, print_: bytes, now: float) -> None:
        """Keep an answer; it replaces an earlier one."""
        self._forget_old(now)
        answer = Answer(close.SerializeToString(), print_, now + self._keep_s)
        if scope in self._answers:
            self._forget(scope)
        self._answers[scope] = answer
        self.bytes += answer.size
        while self._answers and (len(self._answers) > self._max_answers or self.bytes > self._max_bytes):
            self._forget(next(iter(self._answers)))

    def _forget_old(self, now: float) -> None:
        while self._answers:
            scope, oldest = next(iter(self._answers.items()))
            if oldest.until > now:
                return
            self._forget(scope)

    def _forget(self, scope: Scope) -> None:
        self.bytes -= self._answers.pop(scope).size


def scope_of(open_: pb.Open, agent: str) -> Scope:
    """Within what an idempotency key is one: an Agent, the key of its target, and who asks; never another caller's."""
    source, target = open_.source, open_.target
    parts = (agent, target.key, open_.tenant, open_.principal, source.namespace, source.type, open_.idempotency_key)
    return _digest(*[part.encode() for part in parts])


def print_of(frame: pb.Frame) -> bytes:
    """What a duplicate must have in common with the first: method, types and the payload's first frame."""
    open_ = frame.open
    texts = (open_.method, frame.content_type, frame.data_type, str(open_.reply), str(frame.end))
    return _digest(*[text.encode() for text in texts], frame.data)


def _digest(*parts: bytes) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))  # or "ab" + "c" would be "a" + "bc"
        digest.update(part)
    return digest.digest()
