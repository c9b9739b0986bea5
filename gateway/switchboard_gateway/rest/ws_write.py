"""From frames of a call to the JSON of WebSocket messages. Pure."""

import base64
import codecs
import json
from collections.abc import Mapping
from typing import Any, Final

from switchboard_gateway.rest.answers import BYTES, is_textual, media_type
from switchboard_gateway.rest.json_body import is_json
from switchboard_gateway.rest.limits import SocketLimits
from switchboard_gateway.rest.ws_read import MAX_PAYLOAD
from switchboard_wire.errors import ErrorValue, name_of, row_of
from switchboard_wire.limits import INITIAL_CREDIT_BYTES, MAX_DATA_BYTES, PROTOCOL
from switchboard_wire.v1 import frames_pb2 as pb

_DELIVERED: Final[Mapping[int, str]] = {pb.DELIVERED_NO: "NO", pb.DELIVERED_MAYBE: "MAYBE", pb.DELIVERED_YES: "YES"}


def greeting(namespace: str, limits: SocketLimits) -> str:
    """The HELLO with which the gateway begins."""
    said = {
        "kind": "HELLO",
        "protocol": PROTOCOL,
        "namespace": namespace,
        "limits": {
            "messageBytes": limits.message_bytes,
            "payloadBytes": MAX_PAYLOAD,
            "creditBytes": INITIAL_CREDIT_BYTES,
            "calls": limits.calls,
        },
    }
    return json.dumps(said)


def window(call: int, credit: int) -> str:
    return json.dumps({"kind": "WINDOW", "call": call, "credit": credit})


def pong(number: int) -> str:
    return json.dumps({"kind": "PING", "number": number, "answer": True})


def goaway(reason: str) -> str:
    return json.dumps({"kind": "GOAWAY", "reason": reason})


def close_failed(call: int, message_id: str, error: ErrorValue) -> str:
    """The CLOSE of a call that has failed."""
    return json.dumps({"kind": "CLOSE", "call": call, "id": message_id, "error": describe_error(error)})


def describe_error(error: ErrorValue) -> dict[str, Any]:
    """A row of the error table, with what is known of this failure."""
    found: dict[str, Any] = {
        "code": name_of(error.code),
        "message": error.message,
        "status": row_of(error.code).http,
        "delivered": _DELIVERED.get(error.delivered, "MAYBE"),
    }
    if error.retry_after_ms:
        found["retryAfterMs"] = error.retry_after_ms
    if error.details:
        found["details"] = dict(error.details)
    return found


class Output:
    """The answer of one call. Text and JSON go as `output`, other bytes and what is cut in two as `data`."""

    __slots__ = ("_call", "_cut", "_decoder", "_kind", "_type")

    def __init__(self, call: int) -> None:
        self._call = call
        self._cut = False
        self._type = ""
        self._kind = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def piece(self, frame: pb.Frame) -> str:
        """One DATA. bytes: what it counts for credit."""
        members = self._payload(frame, last=False)
        return f'{{"kind":"DATA","call":{self._call},"bytes":{len(frame.data)}{members}}}'

    def close(self, frame: pb.Frame, opened: pb.Open) -> str:
        """The CLOSE of a call that has succeeded, with the last piece."""
        facts: dict[str, Any] = {
            "id": opened.message_id,
            "agent": opened.agent,
            "instance": frame.instance,
            "processingMs": frame.processing_us / 1000,
        }
        if frame.headers:
            facts["metadata"] = dict(frame.headers)
        told = json.dumps(facts)
        return f'{{"kind":"CLOSE","call":{self._call},{told[1:-1]}{self._payload(frame, last=True)}}}'

    def _payload(self, frame: pb.Frame, *, last: bool) -> str:
        """Members of the payload, each after a comma."""
        data: bytes = frame.data
        self._type = self._type or frame.content_type
        self._kind = self._kind or media_type(frame.content_type)
        if self._kind.startswith("text/"):
            text = self._decoder.decode(data, final=last)
            return f',"output":{json.dumps(text)}{self._named()}' if text or (last and frame.content_type) else ""
        if not data and not self._cut:
            return ""
        more = len(data) == MAX_DATA_BYTES and not last
        whole = not more and not self._cut
        self._cut = more
        if whole and is_textual(self._kind):
            try:
                text = data.decode()
            except UnicodeDecodeError:
                text = ""
            if is_json(text):
                return f',"output":{text}{self._named()}'
        encoded = base64.b64encode(data).decode()
        return f',"data":"{encoded}"{self._named()}' + (',"more":true' if more else "")

    def _named(self) -> str:
        return f',"contentType":{json.dumps(self._type or BYTES)}'
