"""Fixtures: an API server with controllers, a namespace, operators as processes."""

from operator_process import kube, namespace, server, start_operator

__all__ = ["kube", "namespace", "server", "start_operator"]
