"""The host: runs agents in one process and serves them over the sidecar's socket.

`python -m switchboard.host` is the entry point of the host image. Nothing here knows Kubernetes.
"""
