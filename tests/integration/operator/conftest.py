"""Fixtures of the operator's tests: an API server with controllers, a namespace, replicas as processes."""

from operator_process import kube, namespace, server, start_operator

__all__ = ["kube", "namespace", "server", "start_operator"]
