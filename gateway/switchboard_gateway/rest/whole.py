"""Requests and answers that are whole: a JSON body becomes a call, and what comes of the call one JSON body. Pure."""

from switchboard.answers import join_pieces
from switchboard_gateway.rest import answers
from switchboard_gateway.rest.answers import Answer
from switchboard_gateway.rest.bodies import Share
from switchboard_gateway.rest.json_body import read_execution
from switchboard_gateway.rest.targets import opened_to_many
from switchboard_wire.calls import Payload
from switchboard_wire.errors import failure
from switchboard_wire.v1 import frames_pb2 as pb


def apply_body(body: bytes, opened: pb.Open) -> Payload:
    """Set what a JSON body says of its call; returns the payload. Raises SwitchboardError VALIDATION_FAILED."""
    execution = read_execution(body)
    if execution.metadata:
        opened.headers.update(execution.metadata)
    if execution.timeout_ms:
        opened.deadline_ms = execution.timeout_ms
    return execution.payload


class Gathering:
    """An answer as it is put together. share: where its bytes are accounted for; limit: how many they may be."""

    __slots__ = ("_frames", "_limit", "_share", "_size")

    def __init__(self, share: Share, limit: int) -> None:
        self._share = share
        self._limit = limit
        self._size = 0
        self._frames: list[pb.Frame] = []

    def take(self, frame: pb.Frame) -> None:
        """Take a DATA. Raises SwitchboardError, which ends the call."""
        self._size += len(frame.data)
        if self._size > self._limit:
            message = f"the answer is over {self._limit} bytes: ask for it with Accept: text/event-stream"
            raise failure(pb.PAYLOAD_TOO_LARGE, message, delivered=pb.DELIVERED_YES)
        self._share.add(len(frame.data))
        self._frames.append(frame)

    def end(self) -> None:
        """Nothing is kept any more."""
        self._share.end()

    def join(self, close: pb.Frame) -> pb.Frame:
        """The CLOSE with all of the data."""
        return join_pieces(self._frames, close) if self._frames else close


def to_body(opened: pb.Open, close: pb.Frame) -> bytes:
    """The body of a call's whole answer. opened: as it was routed."""
    answer = Answer(opened.message_id, opened.agent, close)
    return answers.to_results(answer) if opened_to_many(opened) else answers.to_json(answer)
