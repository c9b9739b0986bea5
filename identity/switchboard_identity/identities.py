"""The values of this package: what a token says, who a pod is, and a stream that was let in. Light to import."""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from switchboard_wire.v1 import frames_pb2 as pb


class Refused(Exception):
    """A stream that must not be served. code: UNAUTHENTICATED, PERMISSION_DENIED, or NODE_UNAVAILABLE: try again."""

    def __init__(self, code: "pb.Code.ValueType", message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Claims:
    """A pod as its token names it. expires: seconds since the epoch."""

    namespace: str
    service_account: str
    pod: str
    pod_uid: str
    expires: float

    def spiffe_id(self, trust_domain: str) -> str:
        """The name of the identity in logs and calls, as SPIFFE writes it."""
        return f"spiffe://{trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


@dataclass(frozen=True, slots=True)
class Member:
    """A pod of an AgentNode; or of the gateway, when `node` is empty."""

    namespace: str
    node: str
    pod: str
    pod_uid: str
    addresses: frozenset[str]

    @property
    def is_gateway(self) -> bool:
        return not self.node


@dataclass(slots=True, eq=False)
class Admission:
    """A stream that was let in. revoked: set, with the reason, when it has to end. member: None without membership.

    token: as last shown, where it is asked about again while the stream lives; else empty.
    """

    claims: Claims
    member: Member | None
    spiffe_id: str
    revoked: "asyncio.Future[str]"
    expiry: asyncio.TimerHandle | None = field(default=None)
    token: str = field(default="", repr=False)
    looking: "asyncio.Task[None] | None" = field(default=None)

    def revoke(self, reason: str) -> None:
        if not self.revoked.done():
            self.revoked.set_result(reason)

    def fault_of(self, hello: pb.Hello) -> str:
        """What a HELLO says of itself that its token does not bear out; empty when it is true."""
        member = self.member
        if member is not None and member.is_gateway != bool(hello.gateway):
            return "it is no gateway" if hello.gateway else "a gateway says its name"
        said = {"pod_uid": hello.pod_uid, "namespace": hello.namespace}
        true = {"pod_uid": self.claims.pod_uid, "namespace": self.claims.namespace}
        if member is not None and not member.is_gateway:
            said |= {"node": hello.node, "instance": hello.instance}
            true |= {"node": member.node, "instance": member.pod}
        return next((f"{name} is not its own" for name, text in said.items() if text and text != true[name]), "")


class Gate(Protocol):
    """Who decides on streams: see `gatekeeper.Gatekeeper`."""

    async def admit(self, token: str, source: str) -> Admission:
        """Let a stream in. source: the other end's IP address. Raises Refused."""
        ...

    async def identify(self, token: str, source: str) -> Member | None:
        """Who asks, when it opens no stream; None without membership. Raises Refused."""
        ...

    async def renew(self, admission: Admission, token: str) -> None:
        """Take the fresh token of a stream that is inside. Raises Refused."""
        ...

    def release(self, admission: Admission) -> None:
        """The stream has ended."""
        ...
