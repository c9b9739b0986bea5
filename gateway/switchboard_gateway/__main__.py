"""`python -m switchboard_gateway`: run a gateway as its environment says."""

import argparse
import functools
import sys

from switchboard_gateway.access.certificate import NoCertificate
from switchboard_gateway.server import serve
from switchboard_gateway.settings import GatewaySettings
from switchboard_runtime.process import run_component

HELP = """Run a Switchboard gateway. It is configured by the environment:

  SWITCHBOARD_NAMESPACE    namespace of targets that name none (default)
  SWITCHBOARD_INSTANCE     name of this replica
  SWITCHBOARD_POD_UID      of this replica, by which it finds its zone in its EndpointSlice
  SWITCHBOARD_ZONE         the zone, said outright
  SWITCHBOARD_DIRECTORY    kubernetes, or announced: every agent that hosts announce
  SWITCHBOARD_WATCH_NAMESPACES  namespaces whose Agents are served, comma separated (all)
  SWITCHBOARD_REGISTRIES   host:port whose every address is an operator, which is told of calls that wait
  SWITCHBOARD_GATEWAYS     host:port whose every address is another replica, comma separated
  SWITCHBOARD_POD_IP       of this replica, so that of two replicas one dials
  SWITCHBOARD_SESSION_AGENTS  whether clients' sessions may host agents, true or false (true)
  SWITCHBOARD_BIND         address to listen on (0.0.0.0)
  SWITCHBOARD_GRPC_PORT    gRPC for clients (7400)
  SWITCHBOARD_SESSION_PORT sessions of the SDK that leave gRPC (7401)
  SWITCHBOARD_POD_IP       where clients find that port
  SWITCHBOARD_HTTP_PORT    REST for clients (8080)
  SWITCHBOARD_LINKS_PORT   links of sidecars (7410)
  SWITCHBOARD_OPS_PORT     /livez /readyz /metrics (7490)
  SWITCHBOARD_TLS_FOLDER   tls.crt, tls.key and ca.crt for the links; without it they are plain text
  SWITCHBOARD_PLAIN_TEXT   accepted: with TLS, links without it too, while it is being turned on
  SWITCHBOARD_CHECK_TOKENS true: links must show their pod's token (false)
  SWITCHBOARD_POD_TOKENS   how: keys, by the API server's published keys, or tokenReview, by asking it (keys)
  SWITCHBOARD_POD_TOKENS_OUTAGE_SECONDS for which its yes lets pods reconnect while it is away (900)
  SWITCHBOARD_CHECK_SOURCE false: the token may come from another address than its pod's (true)
  SWITCHBOARD_TOKEN_FILE   this gateway's own token, for peers and operators
  SWITCHBOARD_POD_NAMESPACE namespace of the installation
  SWITCHBOARD_TRUST_DOMAIN of the SPIFFE ids in logs and calls (cluster.local)
  SWITCHBOARD_KEYS_FILE, SWITCHBOARD_ISSUER  a JWKS, in place of the API server's published keys
  SWITCHBOARD_AUTH         of clients: none, or kubernetes: tokens and rights by its API (none)
  SWITCHBOARD_AUTH_AUDIENCE that their tokens must be for; empty: the API server's own (switchboard)
  SWITCHBOARD_AUTH_CACHE_SECONDS for which the API server's word counts (30)
  SWITCHBOARD_AUTH_OUTAGE_SECONDS for which it counts longer while the API server is away (300)
  SWITCHBOARD_CLIENT_TLS_FOLDER tls.crt and tls.key for the ports of clients; without it they are plain text
  SWITCHBOARD_GRPC_…       limits of the gRPC port: docs/reference/grpc.md
  SWITCHBOARD_LOG_LEVEL    DEBUG, INFO, WARNING (INFO)
  SWITCHBOARD_LOG_FORMAT   json or text (json)
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="switchboard_gateway", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    try:
        settings = GatewaySettings.from_environment()
    except ValueError as error:
        sys.stderr.write(f"switchboard_gateway: {error}\n")
        return 2
    try:
        run_component("gateway", functools.partial(serve, settings))
    except NoCertificate as error:
        sys.stderr.write(f"switchboard_gateway: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
