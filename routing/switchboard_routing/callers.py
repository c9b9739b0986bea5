"""Who may call an Agent: patterns over the principals that gateways prove. Pure.

A pattern is `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT`, in which a whole segment may be `*`, or
`user:NAME`, at whose end a `*` stands for the rest of the name. Everything else is literal.
"""

import re
from collections.abc import Iterable
from typing import Final

_USER: Final = "user:"


def compile_callers(patterns: Iterable[str]) -> re.Pattern[str] | None:
    """What fits the whole of each principal that may call; None: there are no patterns, so that everybody may."""
    found = [_expression(pattern) for pattern in patterns]
    return re.compile("|".join(found), re.DOTALL) if found else None


def is_user(pattern: str) -> bool:
    """Whether it is of users, who are clients; all others are of ServiceAccounts, of pods and of clients."""
    return pattern.startswith(_USER)


def _expression(pattern: str) -> str:
    if is_user(pattern):
        head = pattern.removesuffix("*")
        return re.escape(head) + (".+" if head != pattern else "")
    return "/".join("[^/]+" if segment == "*" else re.escape(segment) for segment in pattern.split("/"))
