"""The sidecar: links, admission, delivery to the host, drain, heartbeat.

It has no rights at the API server and carries no Kubernetes client.
"""
