"""Fixtures: an API server with controllers, a namespace, operators as processes, a pod."""

from operator_process import kube, namespace, server, start_operator
from real_pods import pod

__all__ = ["kube", "namespace", "pod", "server", "start_operator"]
