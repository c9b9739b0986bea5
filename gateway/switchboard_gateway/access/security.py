"""What protects the ports of clients: who may come in, and the certificate that the gateway shows."""

from dataclasses import dataclass

from switchboard_gateway.access.certificate import ClientCertificate
from switchboard_gateway.access.guard import Guard


@dataclass(frozen=True, slots=True)
class Security:
    """guard: knows clients by their tokens; None: none is asked for. certificate: None: plain text."""

    guard: Guard | None = None
    certificate: ClientCertificate | None = None


OPEN = Security()
