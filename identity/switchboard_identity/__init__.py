"""Who is who inside an installation: tokens against the API server's keys, pods against their EndpointSlices.

Or, as a setting, tokens by the API server's reviews; its question and answer are in `reviews`, for clients' tokens too.
Used by gateways and operators, which answer; whoever dials needs `switchboard_wire.security` alone. Nothing here grants
rights over agents, and nothing here is on the path of a message: everything happens when a stream begins.

`identities`, `serving`, `reviews`, `asking` and `flights` are light; the other modules load PyJWT, cryptography or the
Kubernetes client, so nothing is imported here.
"""
