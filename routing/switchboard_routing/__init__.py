"""Routing decisions: who answers a call, whether it is tried again.

Pure: state in, choice out, with `now` and `rng` as arguments; no I/O, no clock, no randomness of its own.
"""
