"""The narrow interface to a Kubernetes API server: plain dicts in and out, asyncio only.

Used by the operator and the gateway; no other module of the project imports the kubernetes package.
"""
