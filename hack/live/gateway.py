"""The gateway's address for this machine, and its REST API."""

import contextlib
import json
import os
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from devcluster.rootless import free_ports

from live.kubectl import Kubectl
from live.release import NAMESPACE
from live.waiting import wait_until

SERVICE = "switchboard-gateway"
CONNECT_S = 2.0
HTTP_S = 60.0
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Address:
    """host:port of both protocols."""

    grpc: str
    http: str


@contextlib.contextmanager
def reach_gateway(kubectl: Kubectl) -> Iterator[Address]:
    """An address that answers, as long as the context is open.

    The Service's own address where this machine has a route to it, else a node's port, else a port-forward.
    """
    for address in addresses(kubectl):
        if is_open(address.http):
            yield address
            return
    with port_forward(kubectl) as address:
        yield address


def addresses(kubectl: Kubectl) -> list[Address]:
    """Where the gateway should answer without a port-forward."""
    service = kubectl.find(NAMESPACE, "service", SERVICE)
    if service is None:
        return []
    ports = {port["name"]: port for port in service["spec"]["ports"]}
    ip = service["spec"]["clusterIP"]
    found = [Address(f"{ip}:{ports['grpc']['port']}", f"{ip}:{ports['http']['port']}")]
    if "nodePort" in ports["grpc"]:
        for node in kubectl.items("default", "nodes"):
            inside = [told["address"] for told in node["status"]["addresses"] if told["type"] == "InternalIP"]
            found += [
                Address(f"{ip}:{ports['grpc']['nodePort']}", f"{ip}:{ports['http']['nodePort']}") for ip in inside
            ]
    return found


def is_open(address: str) -> bool:
    """Whether anybody listens there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def port_forward(kubectl: Kubectl) -> Iterator[Address]:
    """Forward two free ports of this machine to one replica of the gateway."""
    grpc, http = free_ports(2)
    forward = [
        str(kubectl.program),
        "-n",
        NAMESPACE,
        "port-forward",
        f"service/{SERVICE}",
        f"{grpc}:7400",
        f"{http}:80",
    ]
    environment = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig)}
    with subprocess.Popen(forward, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_open(f"127.0.0.1:{http}"), "the port-forward to the gateway", 60)
            yield Address(f"127.0.0.1:{grpc}", f"127.0.0.1:{http}")
        finally:
            process.terminate()


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer whose body was JSON."""

    status: int
    body: Json


@dataclass(frozen=True, slots=True)
class Rest:
    """The REST API for one namespace."""

    address: str
    namespace: str

    def url(self, path: str) -> str:
        return f"http://{self.address.removesuffix(':80')}/api/v1/namespaces/{self.namespace}/{path}"

    def get(self, path: str) -> Reply:
        return self._exchange(urllib.request.Request(self.url(path)))

    def execute(self, path: str, given: object, *, key: str = "", **members: object) -> Reply:
        """POST `{"input": …}` to `agents/NAME` or `capabilities/NAME`."""
        return self.post(path, json.dumps({"input": given, **members}).encode(), key)

    def publish(self, topic: str, given: object, *, source: str = "") -> Reply:
        """POST `{"input": …}` to a topic."""
        body = json.dumps({"input": given}).encode()
        url = self.url(f"topics/{topic}/publish?source={urllib.parse.quote(source)}")
        return self._exchange(urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"}))

    def post(self, path: str, body: bytes, key: str = "") -> Reply:
        """POST a body as JSON, whatever it is."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        url = self.url(f"{path}/execute{f'?key={urllib.parse.quote(key)}' if key else ''}")
        return self._exchange(urllib.request.Request(url, data=body, headers=headers))

    def _exchange(self, request: urllib.request.Request) -> Reply:
        try:
            with urllib.request.urlopen(request, timeout=HTTP_S) as response:
                return Reply(response.status, json.load(response))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, json.load(error))
