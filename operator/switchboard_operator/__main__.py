"""`python -m switchboard_operator`: one replica of the operator."""

import argparse
import logging

from switchboard_operator.app import run_operator
from switchboard_operator.settings import read_settings
from switchboard_runtime.process import run_component

_ENVIRONMENT = """environment:
  SWITCHBOARD_NAMESPACE         namespace of the operator and its lease (switchboard-system)
  SWITCHBOARD_INSTANCE          name of this replica (the host name)
  SWITCHBOARD_WATCH_NAMESPACES  comma separated; empty: all
  SWITCHBOARD_SIDECAR_IMAGE     image of the sidecars
  SWITCHBOARD_HOST_IMAGE        image of hosts whose template names none
  SWITCHBOARD_IMAGE_PULL_POLICY of both (IfNotPresent)
  SWITCHBOARD_GATEWAYS          host:port that sidecars dial (switchboard-links.NAMESPACE.svc:7410)
  SWITCHBOARD_REGISTRIES        host:port that sidecars dial (switchboard-registry.NAMESPACE.svc:7420)
  SWITCHBOARD_REGISTRY_PORT     port of the Registry service (7420)
  SWITCHBOARD_METRICS_APIS      which metrics APIs to serve: custom, external or both, comma separated; empty: none
  SWITCHBOARD_METRICS_PORT      their port (7443)
  SWITCHBOARD_OPS_PORT          port of /livez, /readyz and /metrics (7490)
  SWITCHBOARD_LOG_LEVEL, SWITCHBOARD_LOG_FORMAT  INFO; json or text
In a pod it uses its ServiceAccount, elsewhere $KUBECONFIG or ~/.kube/config.
"""


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m switchboard_operator",
        description="Switchboard's operator: AgentNodes and Agents into Deployments, a live registry into status.",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    settings = read_settings()
    # The framework tells every event and every reconnect; what matters of them is told here
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    run_component("operator", lambda stop: run_operator(settings, stop))


if __name__ == "__main__":
    main()
