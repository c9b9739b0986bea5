"""Who is who inside an installation: tokens against the API server's keys, pods against their EndpointSlices.

Used by gateways and operators, which answer; whoever dials needs `switchboard_wire.security` alone. Nothing here grants
rights over agents, and nothing here is on the path of a message: everything happens when a stream begins.
"""

from switchboard_identity.gatekeeper import Admission, CheckRules, Gatekeeper, Refused
from switchboard_identity.keys import KeyCache, read_keys
from switchboard_identity.membership import Member, Membership, members_of
from switchboard_identity.serving import server_credentials
from switchboard_identity.settings import IdentitySettings
from switchboard_identity.tokens import Claims, InvalidToken, KeySet, UnknownKey, read_token

__all__ = [
    "Admission",
    "CheckRules",
    "Claims",
    "Gatekeeper",
    "IdentitySettings",
    "InvalidToken",
    "KeyCache",
    "KeySet",
    "Member",
    "Membership",
    "Refused",
    "UnknownKey",
    "members_of",
    "read_keys",
    "read_token",
    "server_credentials",
]
