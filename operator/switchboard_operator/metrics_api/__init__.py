"""The metrics APIs for autoscalers: custom.metrics.k8s.io and external.metrics.k8s.io, from every replica's memory.

`server` is the shell; `routes`, `documents`, `label_selectors`, `readings` and `front_proxy` decide and do no I/O.
"""
