"""REST, server-sent events, WebSockets and OpenAPI, as a thin shell over the core: HTTP in, calls on a local peer out.

Bodies, headers, answers, events and problems are translated by pure modules; `execute`, `reads` and `app` do the I/O.
Only the gateway's server imports it.
"""

from switchboard_gateway.rest.app import build_app, serve_rest
from switchboard_gateway.rest.limits import RestLimits

__all__ = ["build_app", "serve_rest", "RestLimits"]
