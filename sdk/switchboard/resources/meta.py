"""Parts that both kinds share: the metadata that we read, and the standard condition."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from switchboard.resources.base import Model, Unique
from switchboard.resources.fields import AnnotationMap, Count, LabelMap, Timestamp

# What a message in status may hold: status is no log (see the write budget in docs/architecture.md).
MAX_MESSAGE_LENGTH = 1024


class ObjectMeta(Model):
    """The part of an object's metadata that Switchboard reads; the rest is kept as it is."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="Name, unique in the namespace for the kind.", max_length=253)
    namespace: str | None = Field(default=None, description="Namespace of the object.", max_length=63)
    uid: str | None = Field(default=None, description="Identity that survives no deletion.", max_length=64)
    generation: Count | None = Field(default=None, description="Counts the changes of spec.")
    labels: LabelMap = Field(default={}, description="Labels.")
    annotations: AnnotationMap = Field(default={}, description="Annotations.")


class Condition(Model):
    """One observed claim about an object, in the form that ``kubectl wait --for=condition=`` understands."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="What is claimed, for example Ready."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the claim holds: True, False or Unknown.")
    reason: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern="^[A-Za-z][A-Za-z0-9_]*$")] = Field(
        description="Why, as one CamelCase word that programs may compare."
    )
    message: Annotated[str, StringConstraints(max_length=MAX_MESSAGE_LENGTH)] = Field(
        default="", description="Why, as a sentence for people, with the remedy when something must be done."
    )
    last_transition_time: Timestamp = Field(description="When status last changed; a new message does not change it.")
    observed_generation: Count | None = Field(
        default=None, description="metadata.generation of the spec that this claim is about."
    )


Conditions = Annotated[tuple[Condition, ...], Unique(("type",))]
