"""Each rewriting of what pydantic emits, and each refusal of what a CRD cannot say."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from crdgen.schema import NotStructuralError, build_schema
from pydantic import BaseModel, Field, JsonValue

from switchboard.resources import Model, Rule
from switchboard.resources.base import Unique

Text = Annotated[str, Field(max_length=9)]


class Part(BaseModel):
    """The class's words."""

    size: int = Field(3, description="Size.", ge=1, le=9)
    word: Text | None = Field(None, description="Word.")


class Bare(BaseModel):
    word: Text | None = Field(None, description="Word.")


class Ruled(Model):
    """With a rule."""

    low: int = Field(default=1, description="Low.", ge=0, le=9)
    rules = (Rule("self.low > 0", "low must be above 0", lambda ruled: ruled.low > 0),)


class Loop(BaseModel):
    inner: "Loop | None" = Field(None, description="Itself.")


def convert(annotation: Any, default: Any = ..., description: str | None = "D.", **bounds: Any) -> dict[str, Any]:
    """The schema of a field of this type."""
    field = Field(default, description=description, **bounds)
    made = type("Holder", (BaseModel,), {"__annotations__": {"field": annotation}, "field": field})
    schema: dict[str, Any] = build_schema(made)["properties"]["field"]
    return schema


PART = {
    "size": {"description": "Size.", "type": "integer", "minimum": 1, "maximum": 9, "default": 3},
    "word": {"description": "Word.", "type": "string", "maxLength": 9},
}
CONVERSIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a title is dropped": (convert(Text), {"type": "string", "maxLength": 9}),
    "an optional field is its type without a default": (
        convert(Text | None, None),
        {"type": "string", "maxLength": 9},
    ),
    "an empty default is none": (convert(Text, ""), {"type": "string", "maxLength": 9}),
    "false is a default": (convert(bool, False), {"type": "boolean", "default": False}),
    "an enum needs no other bound": (
        convert(Literal["a", "b"], "a"),
        {"type": "string", "enum": ["a", "b"], "default": "a"},
    ),
    "a constant is an enum of one": (convert(Literal["a"]), {"type": "string", "enum": ["a"]}),
    "exclusive bounds are booleans": (
        convert(int, gt=0, lt=5),
        {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": True},
    ),
    "int or str is int-or-string": (
        convert(int | Text),
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "maxLength": 9},
    ),
    "a reference is written out and keeps the field's words": (convert(Part), {"type": "object", "properties": PART}),
    "a part with defaults gets them all": (
        convert(Part, Part()),
        {"type": "object", "properties": PART, "default": {"size": 3}},
    ),
    "a part without defaults gets none": (
        convert(Bare, Bare()),
        {"type": "object", "properties": {"word": PART["word"]}},
    ),
    "a map has bounds and typed values": (
        convert(Mapping[str, Text], {}, max_length=4),
        {"type": "object", "maxProperties": 4, "additionalProperties": {"type": "string", "maxLength": 9}},
    ),
    "arbitrary JSON is preserved": (
        convert(Mapping[str, JsonValue], {}, max_length=4),
        {"type": "object", "maxProperties": 4, "x-kubernetes-preserve-unknown-fields": True},
    ),
    "a list of unique words is a set": (
        convert(Annotated[tuple[Text, ...], Unique()], (), max_length=2),
        {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "set", "items": {"type": "string", "maxLength": 9}},
    ),
    "a list of parts does not repeat the class's words": (
        convert(tuple[Bare, ...], (), max_length=2),
        {"type": "array", "maxItems": 2, "items": {"type": "object", "properties": {"word": PART["word"]}}},
    ),
}


@pytest.mark.parametrize(("found", "expected"), CONVERSIONS.values(), ids=CONVERSIONS.keys())
def test_conversions(found, expected) -> None:
    assert found == {"description": "D.", **expected}


def test_rules_and_the_classes_own_words_stand_at_the_object() -> None:
    assert build_schema(Ruled) == {
        "description": "With a rule.",
        "type": "object",
        "x-kubernetes-validations": [{"rule": "self.low > 0", "message": "low must be above 0"}],
        "properties": {"low": {"description": "Low.", "type": "integer", "minimum": 0, "maximum": 9, "default": 1}},
    }


@pytest.mark.parametrize(
    ("annotation", "bounds", "words"),
    [
        (str, {}, "Holder.field: needs maxLength"),
        (int, {"ge": 0}, "Holder.field: needs maximum"),
        (tuple[Text, ...], {}, "Holder.field: needs maxItems"),
        (Mapping[str, Text], {}, "Holder.field: needs maxProperties"),
        (Mapping[str, str], {"max_length": 2}, r"Holder.field\{\}: needs maxLength"),
        (tuple[str, ...], {"max_length": 2}, r"Holder.field\[\]: needs maxLength"),
        (JsonValue, {}, "Holder.field: needs a type"),
        (bool | Text, {}, "of all unions a CRD knows only that of integer and string"),
        (set[Text], {"max_length": 2}, "uniqueItems has no place in a structural schema"),
        (Loop, {}, "Loop contains itself"),
        (Text, {"description": None}, "Holder.field: needs a description"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals_name_the_field(annotation, bounds, words) -> None:
    with pytest.raises(NotStructuralError, match=words):
        convert(annotation, **bounds)
