"""Bounded strings and numbers that several models share, each with the reason of its bound."""

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from switchboard.resources.base import Int, NullsDropped
from switchboard_wire.names import MAX_NAME_LENGTH

# RFC 1035 label: what a Service may be called, so what may become part of a DNS name.
DNS_1035: Final = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
# RFC 1123 subdomain: what Kubernetes calls most objects.
DNS_1123_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
VERSION_WORDS: Final = "must be a semantic version, three numbers such as 1.2.0"
# resource.Quantity of apimachinery, as its own OpenAPI describes it.
QUANTITY: Final = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
RFC_3339: Final = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"


def matches(pattern: str, text: str) -> bool:
    """What CEL's ``matches`` says of a pattern anchored at both ends (Python's ``$`` alone lets a newline through)."""
    return re.fullmatch(pattern, text) is not None


# Names that the rules check, with a better message than a pattern gives; the bound keeps the rule's cost estimable.
DnsName = Annotated[str, StringConstraints(min_length=1, max_length=63)]
ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=DNS_1123_SUBDOMAIN)]
NodeName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH, pattern=DNS_1035)]
Image = Annotated[str, StringConstraints(min_length=1, max_length=512)]
# Longest semantic version that a person still reads in a column.
VersionText = Annotated[str, StringConstraints(min_length=5, max_length=64)]
# Of the form that the API server itself writes, in UTC.
Timestamp = Annotated[
    str,
    StringConstraints(min_length=20, max_length=20, pattern=RFC_3339),
    Field(json_schema_extra={"format": "date-time"}),
]
# Counts and generations: whole numbers that JSON's doubles still hold exactly.
Count = Annotated[Int, Field(ge=0, le=2**53)]
LabelValue = Annotated[str, StringConstraints(max_length=63)]
# An annotation may be long; all annotations of one object together may have 256 KiB, which the API server checks.
AnnotationValue = Annotated[str, StringConstraints(max_length=65536)]
LabelMap = Annotated[Mapping[str, LabelValue], Field(max_length=64), NullsDropped]
AnnotationMap = Annotated[Mapping[str, AnnotationValue], Field(max_length=128), NullsDropped]
QuantityText = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=QUANTITY)]
QuantityMap = Annotated[Mapping[str, Int | QuantityText], Field(max_length=16), NullsDropped]
# Long enough for a minute-long task, short enough for a typing error in milliseconds to be refused.
Seconds = Annotated[Int, Field(ge=1, le=86400)]
