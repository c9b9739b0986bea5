"""Who calls: written into every OPEN by the end that has checked it. What a caller says of itself is lost.

Sessions and links sign what arrives on them; shells over a local pair (unary gRPC, REST) sign what they build.
"""

from switchboard_wire.v1 import frames_pb2 as pb


def sign(opened: pb.Open, principal: str = "") -> None:
    """Name the caller. principal: as it was proved, inside an installation a SPIFFE id; empty: nothing was."""
    if opened.principal != principal:
        opened.principal = principal
    if opened.tenant:
        opened.ClearField("tenant")  # nothing proves one yet
