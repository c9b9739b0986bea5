"""How old clients' sessions get: they begin anew now and then, so that replicas that came later get their share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# Of its age limit, a session is told between these shares: not all that came together go together
SOONEST: Final = 0.7
LATEST: Final = 0.85


@dataclass(frozen=True, slots=True)
class Age:
    """When a session is asked to begin anew, and what its calls may take after that. seconds 0: never."""

    seconds: float = 0.0
    grace_s: float = 0.0

    def draw(self, rng: Callable[[], float]) -> float:
        """When one session is told: earlier than its gRPC connection, whose age grpc spreads by a tenth."""
        return self.seconds * (SOONEST + (LATEST - SOONEST) * rng())
