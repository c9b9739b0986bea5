"""In front of the Registry: a stream is served once its token was let in, and for as long as that holds."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from switchboard_identity.identities import Admission, Gate, Refused
from switchboard_identity.membership import address_of_peer
from switchboard_operator import metrics
from switchboard_operator.registry_server import Answering, Directives
from switchboard_wire.errors import name_of
from switchboard_wire.internal_v1.registry_pb2 import Directive, Report
from switchboard_wire.v1.frames_pb2 import NODE_UNAVAILABLE, PERMISSION_DENIED, UNAUTHENTICATED, Error
from switchboard_wire.v1.instances_pb2 import InstanceList, InstanceQuery

log = logging.getLogger(__name__)

FIRST_REPORT_S: Final = 10.0
_STATUS: Final = {
    UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    NODE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


def _count(surface: str, code: int) -> None:
    metrics.REFUSALS.labels(surface, name_of(code)).inc()


class RegistryGate:
    """Lets streams and, of gateways, queries through."""

    def __init__(self, gate: Gate, inside: Answering) -> None:
        self._gate, self._connect, self._query = gate, inside.connect, inside.query

    async def query(self, query: InstanceQuery, context: Any) -> InstanceList:
        """Answer a gateway, which shows its token in the metadata as OAuth's bearers do."""
        shown = dict(context.invocation_metadata() or ()).get("authorization", "")
        try:
            member = await self._gate.identify(shown.removeprefix("Bearer "), address_of_peer(context.peer()))
        except Refused as refused:
            _count("query", refused.code)
            await context.abort(_STATUS[refused.code], refused.message)
            raise
        if member is not None and not member.is_gateway:
            _count("query", PERMISSION_DENIED)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "gateways alone ask here")
        return await self._query(query, context)

    async def connect(self, reports: AsyncIterator[Report], directives: Directives) -> None:
        """Serve one stream; who is refused is told why."""
        try:
            async with asyncio.timeout(FIRST_REPORT_S):
                first = await anext(reports)
        except (StopAsyncIteration, TimeoutError):
            return
        try:
            admission = await self._gate.admit(first.hello.token, address_of_peer(directives.peer))
        except Refused as refused:
            await self._refuse(directives, refused)
            return
        try:
            if fault := admission.fault_of(first.hello):
                await self._refuse(directives, Refused(PERMISSION_DENIED, fault))
                return
            log.debug("admitted", extra={"principal": admission.spiffe_id, "pod": admission.claims.pod})
            await self._serve(admission, _Reports(self._gate, admission, first, reports), directives)
        finally:
            self._gate.release(admission)

    async def _serve(self, admission: Admission, reports: "_Reports", directives: Directives) -> None:
        serving = asyncio.create_task(self._connect(reports, directives))
        try:
            ends: list[asyncio.Future[Any]] = [serving, admission.revoked]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            else:
                await self._refuse(directives, Refused(PERMISSION_DENIED, admission.revoked.result()))
        finally:
            await directives.end(serving)

    @staticmethod
    async def _refuse(directives: Directives, refused: Refused) -> None:
        _count("registry", refused.code)
        log.warning("registry stream refused", extra={"from": directives.peer, "reason": refused.message})
        await directives.write(Directive(refused=Error(code=refused.code, message=refused.message)))


class _Reports:
    """The reports of a stream that is inside; fresh tokens are taken out, and it ends at a HELLO that is not true."""

    def __init__(self, gate: Gate, admission: Admission, first: Report, rest: AsyncIterator[Report]) -> None:
        self._gate, self._admission, self._rest = gate, admission, rest
        self._first: Report | None = first

    def __aiter__(self) -> "_Reports":
        return self

    async def __anext__(self) -> Report:
        report, self._first = self._first, None
        if report is None:
            report = await anext(self._rest)
        if report.HasField("auth"):
            try:
                await self._gate.renew(self._admission, report.auth.token)
            except Refused as refused:  # the former token counts until it ends
                _count("registry", refused.code)
                log.warning("a fresh token was refused", extra={"reason": refused.message})
        if report.HasField("hello") and self._admission.fault_of(report.hello):
            raise StopAsyncIteration
        return report
