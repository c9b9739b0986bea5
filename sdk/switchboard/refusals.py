"""The gateway's own error in the trailing metadata of a gRPC call that failed."""

from typing import Any, Final

from switchboard_wire.errors import ErrorValue, SwitchboardError
from switchboard_wire.v1 import frames_pb2 as pb

ERROR_METADATA: Final = "switchboard-error-bin"


def error_of(error: Any) -> SwitchboardError | None:
    """What the gateway said of a grpc.aio.AioRpcError; None when it said nothing, as it was not there."""
    for name, value in error.trailing_metadata() or ():
        if name == ERROR_METADATA:
            return SwitchboardError(ErrorValue.from_wire(pb.Error.FromString(value)))
    return None
