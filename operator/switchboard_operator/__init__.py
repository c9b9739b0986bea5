"""The operator: AgentNodes and Agents into Deployments and their kin, the live registry into status.

Deciding modules (plan, checks, status, desired) import no kopf, kubernetes, grpc, asyncio, time or random.
"""
