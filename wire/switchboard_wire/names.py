"""Names on which the parts agree: Kubernetes strings, ports, paths, environment variables.

Every string that two components or a user could see lives here, so that none is spelled twice.
"""

from typing import Final

# Kubernetes
GROUP: Final = "switchboard.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
AGENT_NODE: Final = "AgentNode"
AGENT_NODES: Final = "agentnodes"
AGENT: Final = "Agent"
AGENTS: Final = "agents"
SHORT_NAMES: Final = {AGENT_NODE: "sbn", AGENT: "sba"}
CATEGORY: Final = "switchboard"

FIELD_MANAGER: Final = "switchboard-operator"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = FIELD_MANAGER
NODE_LABEL: Final = f"{GROUP}/agentnode"
PAUSED_ANNOTATION: Final = f"{GROUP}/paused"
RESET_CIRCUITS_ANNOTATION: Final = f"{GROUP}/reset-circuits"  # of an Agent: each new value closes its circuits
ROTATE_ANNOTATION: Final = f"{GROUP}/rotate"  # on the Secret of the CA: make a successor now
APPLIED_ANNOTATION: Final = f"{GROUP}/applied"  # digest of what we last applied to a child
SIDECAR_REVISION_ANNOTATION: Final = f"{GROUP}/sidecar-revision"
DELETION_COST_ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
# External metrics of all providers share one space of names; the label says of which AgentNode a value is
EXTERNAL_METRIC_PREFIX: Final = "switchboard_"
EXTERNAL_METRIC_LABEL: Final = "agentnode"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"

# A Service or pod name derived from an AgentNode's still fits a DNS label of 63
MAX_NAME_LENGTH: Final = 52
# By what callers find an agent: patterns and lengths, of Agents and of agents that code registers
CAPABILITY: Final = "^[a-z0-9]([-a-z0-9_.]*[a-z0-9])?$"
MAX_CAPABILITY_LENGTH: Final = 63
TOPIC: Final = "^[A-Za-z0-9_.:=-]+$"
MAX_TOPIC_LENGTH: Final = 253
# Semantic Versioning 2.0.0, ASCII digits only, without its lookaheads (RE2 has none and needs none)
SEMVER: Final = (
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$"
)
RESERVED_TYPES: Final = frozenset({"tasks"})  # /api/v1/agents/tasks is a path of its own

# The pod of an AgentNode
HOST_CONTAINER: Final = "agent"
SIDECAR_CONTAINER: Final = "switchboard-sidecar"
SOCKET_VOLUME: Final = "switchboard-run"
ASSIGNMENTS_VOLUME: Final = "switchboard-assignments"
TOKEN_VOLUME: Final = "switchboard-token"
CODE_VOLUME: Final = "switchboard-code"
RESERVED_PREFIX: Final = "switchboard-"  # of container and volume names: later ones of ours need no new rule
RESERVED_CONTAINERS: Final = frozenset({SIDECAR_CONTAINER})
RESERVED_VOLUMES: Final = frozenset({SOCKET_VOLUME, ASSIGNMENTS_VOLUME, TOKEN_VOLUME, CODE_VOLUME})
TOKEN_AUDIENCE: Final = "switchboard"

SOCKET_PATH: Final = "/run/switchboard/host.sock"
ASSIGNMENTS_FOLDER: Final = "/etc/switchboard"
ASSIGNMENTS_FILE: Final = (
    "assignments.json"  # key of the ConfigMap and name in the folder: Assignments as protobuf JSON
)
CODE_FOLDER: Final = "/agents"
TOKEN_FOLDER: Final = "/var/run/secrets/switchboard"

# Services and ports
GATEWAY_SERVICE: Final = "switchboard-gateway"
LINKS_SERVICE: Final = "switchboard-links"
REGISTRY_SERVICE: Final = "switchboard-registry"
METRICS_SERVICE: Final = "switchboard-metrics"
GATEWAY_GRPC_PORT: Final = 7400
SESSION_PORT: Final = 7401
GATEWAY_HTTP_PORT: Final = 8080
LINKS_PORT: Final = 7410
REGISTRY_PORT: Final = 7420
METRICS_API_PORT: Final = 7443
OPS_PORT: Final = 7490
DRAIN_PATH: Final = "/drain"  # on a sidecar's OPS_PORT: waits for a drain that has begun

# gRPC methods
SESSION_METHOD: Final = "/switchboard.v1.Gateway/Session"
REQUEST_METHOD: Final = "/switchboard.v1.Gateway/Request"
STREAM_METHOD: Final = "/switchboard.v1.Gateway/Stream"
LIST_AGENTS_METHOD: Final = "/switchboard.v1.Gateway/ListAgents"
DESCRIBE_AGENT_METHOD: Final = "/switchboard.v1.Gateway/DescribeAgent"
WATCH_AGENTS_METHOD: Final = "/switchboard.v1.Gateway/WatchAgents"
REGISTRY_METHOD: Final = "/switchboard.internal.v1.Registry/Connect"
REGISTRY_QUERY_METHOD: Final = "/switchboard.internal.v1.Registry/Query"
LIST_INSTANCES_METHOD: Final = "/switchboard.v1.Gateway/ListInstances"

# What a dialler of our own sockets asks for: LINK on LINKS_PORT, SESSION on SESSION_PORT, the others on the pod's unix
# socket
SESSION_SERVICE: Final = "session"  # a client, with its ticket: session/TICKET
LINK_SERVICE: Final = "link"  # a sidecar, or a gateway of the same release
ATTACH_SERVICE: Final = "attach"  # a host
DRAIN_SERVICE: Final = "drain"  # the sidecar's own preStop: one call, answered when the drain is over

# Environment of the components
ENV_NAMESPACE: Final = "SWITCHBOARD_NAMESPACE"  # of the pod; a gateway's default namespace
ENV_NODE: Final = "SWITCHBOARD_NODE"  # AgentNode of a sidecar
ENV_INSTANCE: Final = "SWITCHBOARD_INSTANCE"  # pod name
ENV_POD_UID: Final = "SWITCHBOARD_POD_UID"
ENV_POD_IP: Final = "SWITCHBOARD_POD_IP"
ENV_GATEWAYS: Final = "SWITCHBOARD_GATEWAYS"  # host:port whose every address a sidecar dials
ENV_REGISTRIES: Final = "SWITCHBOARD_REGISTRIES"  # host:port whose every address a sidecar dials
ENV_SOCKET: Final = "SWITCHBOARD_SOCKET"
ENV_ASSIGNMENTS: Final = "SWITCHBOARD_ASSIGNMENTS"  # path of the assignments file
ENV_TOKEN: Final = "SWITCHBOARD_TOKEN"  # of a client: the token itself
ENV_TOKEN_FILE: Final = "SWITCHBOARD_TOKEN_FILE"
ENV_TLS: Final = (
    "SWITCHBOARD_TLS"  # of a sidecar: required; an operator: own (its own CA); a client: true; empty: plain text
)
ENV_CA_SETTLED: Final = "SWITCHBOARD_CA_SETTLED_SECONDS"  # for which a new CA is known everywhere before it signs
ENV_TLS_FOLDER: Final = "SWITCHBOARD_TLS_FOLDER"  # tls.crt, tls.key, ca.crt of a gateway or operator
ENV_CONNECT_TIMEOUT: Final = "SWITCHBOARD_CONNECT_TIMEOUT"  # seconds, of the commands
ENV_CA_FILE: Final = "SWITCHBOARD_CA_FILE"  # certificates to trust, of a client or of a sidecar outside Kubernetes
ENV_PLAIN_TEXT: Final = "SWITCHBOARD_PLAIN_TEXT"  # accepted: links without TLS too, while it is being turned on
ENV_CHECK_TOKENS: Final = "SWITCHBOARD_CHECK_TOKENS"  # true: streams inside the installation must show a token
ENV_POD_TOKENS: Final = "SWITCHBOARD_POD_TOKENS"  # how they are checked: keys (the default) or tokenReview
ENV_POD_TOKENS_OUTAGE: Final = "SWITCHBOARD_POD_TOKENS_OUTAGE_SECONDS"  # for which a review counts longer
ENV_CHECK_SOURCE: Final = "SWITCHBOARD_CHECK_SOURCE"  # false: a token may come from another address than its pod's
ENV_AUTH: Final = "SWITCHBOARD_AUTH"  # of clients: none (the default) or kubernetes
ENV_TRUST_DOMAIN: Final = "SWITCHBOARD_TRUST_DOMAIN"  # of SPIFFE ids
ENV_POD_NAMESPACE: Final = "SWITCHBOARD_POD_NAMESPACE"  # of a gateway's pod: the installation's
ENV_KEYS_FILE: Final = "SWITCHBOARD_KEYS_FILE"  # a JWKS, in place of the API server's
ENV_ISSUER: Final = "SWITCHBOARD_ISSUER"  # of the tokens, with a JWKS file
ENV_LOAD_FIRST: Final = "SWITCHBOARD_LOAD_FIRST"  # of a host that waits: path of what it loads before it joins
ENV_CODE: Final = "SWITCHBOARD_CODE"
ENV_OPS_PORT: Final = "SWITCHBOARD_OPS_PORT"
ENV_LOG_LEVEL: Final = "SWITCHBOARD_LOG_LEVEL"
ENV_LOG_FORMAT: Final = "SWITCHBOARD_LOG_FORMAT"  # json (the default) or text
ENV_SIDECAR_IMAGE: Final = "SWITCHBOARD_SIDECAR_IMAGE"
ENV_HOST_IMAGE: Final = "SWITCHBOARD_HOST_IMAGE"
ENV_IMAGE_PULL_POLICY: Final = "SWITCHBOARD_IMAGE_PULL_POLICY"
ENV_WATCH_NAMESPACES: Final = "SWITCHBOARD_WATCH_NAMESPACES"  # comma separated; empty: all
ENV_METRICS_APIS: Final = "SWITCHBOARD_METRICS_APIS"  # that the operator serves: custom, external; comma separated
ENV_GATEWAY: Final = "SWITCHBOARD_GATEWAY"  # address of the gateway, for clients
