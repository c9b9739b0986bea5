"""How the public gRPC methods answer: one message that gRPC can carry, or a status with the whole error beside it."""

from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import Message

from switchboard_gateway.access.rights import bearer
from switchboard_wire.errors import ErrorValue, failure, name_of, row_of
from switchboard_wire.limits import MAX_MESSAGE_BYTES
from switchboard_wire.v1 import frames_pb2 as pb

_STATUS: Final = {status.value[0]: status for status in grpc.StatusCode}
ERROR_METADATA: Final = "switchboard-error-bin"  # the Error message, serialized
CODE_METADATA: Final = "switchboard-code"


def whole(answer: Message, remedy: str) -> bytes:
    """The answer, if one gRPC message holds it. Raises PayloadTooLarge with the remedy: grpc would only log a trace."""
    data = answer.SerializeToString()
    if len(data) > MAX_MESSAGE_BYTES:
        text = f"the answer is over {MAX_MESSAGE_BYTES} bytes, the most of one gRPC message: {remedy}"
        raise failure(pb.PAYLOAD_TOO_LARGE, text, delivered=pb.DELIVERED_YES)
    return data


def token_of(context: Any) -> str:
    """The bearer token of a gRPC call; empty when it brings none."""
    for name, value in context.invocation_metadata() or ():
        if name == "authorization":
            return bearer(value if isinstance(value, str) else "")
    return ""


async def abort(context: Any, error: ErrorValue) -> NoReturn:
    """End a gRPC call with the status of the error table; the whole Error goes in the trailing metadata."""
    status = _STATUS[row_of(error.code).grpc]
    trailing = ((CODE_METADATA, name_of(error.code)), (ERROR_METADATA, error.to_wire().SerializeToString()))
    await context.abort(status, error.message, trailing)
    raise AssertionError("abort returned")
