"""Fixtures of the operator's tests: an API server with controllers, a namespace, replicas as processes, figures."""

from operator_process import kube, namespace, server, start_operator
from report import report

__all__ = ["kube", "namespace", "report", "server", "start_operator"]
