"""Manifests of small pools for journeys: few words for what a test is about, the rest the same for all."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

# Small, so that many fit on two nodes that share one machine
REQUESTS = {"cpu": "20m", "memory": "64Mi"}
ECHO = """
from switchboard import agent

@agent
async def echo(text: str) -> str:
    return text
"""


def agent_node(namespace: str, name: str, **spec: Any) -> Json:
    """An AgentNode with small requests, whose code is the ConfigMap of its name; `spec` goes over the defaults."""
    container = {"name": "agent", "resources": {"requests": dict(REQUESTS)}}
    defaults = {
        "drainSeconds": 10,
        "source": {"configMap": name},
        "template": {"spec": {"containers": [container]}},
    }
    return _object("AgentNode", namespace, name, {"spec": defaults | spec})


def agent(namespace: str, name: str, node: str, entry: str = "app:echo", **spec: Any) -> Json:
    """An Agent on an AgentNode with a Python handler; `spec` goes over the defaults."""
    defaults: Json = {"nodeRef": {"name": node}, "handler": {"python": {"entry": entry}}}
    return _object("Agent", namespace, name, {"spec": defaults | spec})


def code(namespace: str, name: str, **files: str) -> Json:
    """A ConfigMap of Python files; keywords are module names."""
    made = _object("ConfigMap", namespace, name, {"data": {f"{module}.py": text for module, text in files.items()}})
    return made | {"apiVersion": "v1"}


def echo_pool(namespace: str, name: str = "echo", **spec: Any) -> list[Json]:
    """A pool with one agent of its name that repeats what it is sent."""
    return [code(namespace, name, app=ECHO), agent_node(namespace, name, **spec), agent(namespace, name, name)]


def _object(kind: str, namespace: str, name: str, rest: Mapping[str, Any]) -> Json:
    head = {"apiVersion": "switchboard.dev/v1alpha1", "kind": kind}
    return head | {"metadata": {"name": name, "namespace": namespace}} | dict(rest)
