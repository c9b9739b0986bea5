"""The ports of clients with agents behind them, ServiceAccounts that call, and every way to do it."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from faulty_api import FaultyApi
from rest_server import FakeInstance, echo, make_policy

from switchboard import Client
from switchboard_gateway.core import Core
from switchboard_gateway.instances import Instance
from switchboard_wire import names
from switchboard_wire.peer import local_pair

DEADLINE_S = 120.0
# A client tries for so long before it says that nobody could let it in
CONNECT_S = 20.0
# Long enough to see that an answer is remembered, short enough to wait for its end
CACHE_S = 2.0
RBAC = "rbac.authorization.k8s.io"


@dataclass
class Team:
    """A namespace with ServiceAccounts whose rights a test gives and takes."""

    kubectl: Any
    namespace: str

    def token(self, account: str, *, audience: str = "switchboard") -> str:
        """A token of an account, which is made if it is not there."""
        self.kubectl.try_run("create", "serviceaccount", account, "-n", self.namespace)
        arguments = ["create", "token", account, "-n", self.namespace, "--duration=1h"]
        return self.kubectl.run(*arguments, *([f"--audience={audience}"] if audience else [])).strip()

    def grant(self, account: str, *verbs: str, name: str = "", resource: str = "agents") -> str:
        """A Role and its binding; returns their name, for `revoke`."""
        role = f"{account}-{uuid.uuid4().hex[:6]}"
        rule = {"apiGroups": [names.GROUP], "resources": [resource], "verbs": list(verbs)}
        rule |= {"resourceNames": [name]} if name else {}
        head: dict[str, Any] = {"apiVersion": f"{RBAC}/v1", "metadata": {"name": role, "namespace": self.namespace}}
        subject = {"kind": "ServiceAccount", "name": account, "namespace": self.namespace}
        reference = {"apiGroup": RBAC, "kind": "Role", "name": role}
        binding = {"kind": "RoleBinding", "roleRef": reference, "subjects": [subject]}
        for item in ({"kind": "Role", "rules": [rule]}, binding):
            self.kubectl.run("apply", "-f", "-", stdin=head | item)
        asked = {"group": names.GROUP, "resource": resource, "name": name, "verb": verbs[-1]}
        self._await_right(account, asked | {"namespace": self.namespace})
        return role

    def _await_right(self, account: str, asked: dict[str, str]) -> None:
        """The API server judges by rules that it learns of a moment after they were written."""
        spec = {"user": f"system:serviceaccount:{self.namespace}:{account}", "resourceAttributes": asked}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        ends = time.monotonic() + DEADLINE_S
        while self.kubectl.run("create", "-f", "-", "-o", "jsonpath={.status.allowed}", stdin=review) != "true":
            assert time.monotonic() < ends, f"{account} is not given {asked}"

    def revoke(self, role: str) -> None:
        self.kubectl.run("delete", "rolebinding", role, "-n", self.namespace)


@dataclass
class Ports:
    """The ports of clients, and what stands behind them."""

    namespace: str
    grpc: str
    http: int
    fake: FakeInstance
    api: FaultyApi
    core: Core
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.http}/api/v1"

    @property
    def principals(self) -> set[str]:
        """Who called, as agents were told."""
        return {opened.principal for opened in self.fake.seen}


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Ports]]


def host_agents(core: Core, namespace: str) -> FakeInstance:
    fake = FakeInstance()
    link, _ = local_pair(FakeInstance(), fake)
    instance = Instance(peer=link, namespace=namespace, node="writers", name="writers-1")
    instance.hosted = frozenset({"echo", "secret"})
    core.add_instance(instance)
    fake.handlers = {"echo": echo, "secret": echo}
    core.set_directory([make_policy(name, namespace=namespace) for name in ("echo", "secret")])
    return fake


# The surfaces: each sends `hello` to an agent, shows a token, and returns the answer or the code of the error


async def by_session(ports: Ports, token: str, agent: str = "echo") -> str:
    async with Client(ports.grpc, token=token, connect_timeout_s=CONNECT_S) as client:
        return str((await client.request(agent, "hello", namespace=ports.namespace)).value)


async def by_unary(ports: Ports, token: str, agent: str = "echo") -> str:
    import grpc
    from grpc import aio

    from switchboard.refusals import error_of
    from switchboard_wire.v1 import frames_pb2 as pb
    from switchboard_wire.v1 import gateway_pb2 as api

    message = api.Message(open=pb.Open(target=pb.Target(type=agent)), data=b"hello")
    async with aio.insecure_channel(ports.grpc) as channel:
        method = channel.unary_unary(names.REQUEST_METHOD, api.Message.SerializeToString, api.Answer.FromString)
        try:
            answer = await method(message, metadata=[("authorization", f"Bearer {token}")] if token else [], timeout=60)
        except grpc.RpcError as error:
            raise (error_of(error) or error) from error
        return str(answer.data.decode())


class Refused(Exception):
    """An HTTP answer that is an error."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem}")
        self.status, self.problem = status, problem
        self.code = str(problem["code"])


async def by_rest(ports: Ports, token: str, agent: str = "echo", accept: str = "application/json") -> str:
    headers = {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token else {})
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S)) as session:
        url = f"{ports.url}/agents/{agent}/execute"
        async with session.post(url, json={"input": "hello"}, headers=headers) as response:
            if response.status != 200:
                raise Refused(response.status, await response.json())
            if accept != "application/json":
                text = await response.text()
                assert "event: done" in text
                return "hello" if "hello" in text else text
            return str((await response.json())["output"])


async def by_events(ports: Ports, token: str, agent: str = "echo") -> str:
    return await by_rest(ports, token, agent, "text/event-stream")


async def _by_socket(ports: Ports, agent: str, headers: dict[str, str], protocols: tuple[str, ...]) -> str:
    async with aiohttp.ClientSession() as session, asyncio.timeout(DEADLINE_S):
        url = f"http://localhost:{ports.http}/ws"
        try:
            socket = await session.ws_connect(url, headers=headers, protocols=protocols)
        except aiohttp.WSServerHandshakeError as error:
            raise Refused(
                error.status, {"code": {401: "UNAUTHENTICATED", 503: "NODE_UNAVAILABLE"}[error.status]}
            ) from error
        async with socket:
            await socket.send_json({"kind": "OPEN", "call": 1, "target": agent, "input": "hello"})
            while (answer := await socket.receive_json())["kind"] != "CLOSE":
                pass
        if "error" in answer:
            raise Refused(answer["error"]["status"], answer["error"])
        return str(answer["output"])


async def by_socket(ports: Ports, token: str, agent: str = "echo") -> str:
    return await _by_socket(ports, agent, {"Authorization": f"Bearer {token}"} if token else {}, ("switchboard.v1",))


async def by_browser_socket(ports: Ports, token: str, agent: str = "echo") -> str:
    import base64

    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    shown = (f"base64url.bearer.authorization.k8s.io.{encoded}",) if token else ()
    return await _by_socket(ports, agent, {}, ("switchboard.v1", *shown))


Surface = Callable[..., Awaitable[str]]
# As the metrics call them; all that is not named here is REST's
METRIC_SURFACES = {by_session: "session", by_unary: "grpc"}


def refusals_on(ports: Ports, surface: "Surface", reason: str) -> float:
    """How many the gateway counts."""
    return ports.core.metrics.refusals.values.get((METRIC_SURFACES.get(surface, "rest"), reason), 0)


SURFACES: dict[str, Surface] = {
    "session": by_session,
    "unary gRPC": by_unary,
    "REST": by_rest,
    "server-sent events": by_events,
    "WebSocket": by_socket,
    "WebSocket of a browser": by_browser_socket,
}
