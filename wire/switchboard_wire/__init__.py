"""The wire: names, frames, error table, streams of batches.

Everything imports it; it imports no other package of the project, and no kopf or kubernetes.
"""
