"""What every resource model is made of: a frozen model that reads like the API server, rules and list kinds.

A ``Rule`` states one claim twice, in CEL for the API server and in Python for everything that reads a file without
one, with the same message; the tests hold the two against each other on a real API server.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    SerializerFunctionWrapHandler,
    Strict,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

# Fields that the API server has and this version does not know are dropped while reading under this context, as the
# API server drops those that its CRD does not know: an older operator must keep reading newer objects.
PRUNE: Final = {"prune": True}


def wire_name(snake: str) -> str:
    """The camelCase name of a field in manifests (``pod_uid`` → ``podUID``, as Kubernetes spells it)."""
    first, *rest = snake.split("_")
    return first + "".join("UID" if word == "uid" else word.capitalize() for word in rest)


@dataclass(frozen=True, slots=True)
class Rule:
    """One claim about a model: ``cel`` over ``self`` is what the API server checks, ``holds`` the same in Python.

    ``holds`` is None for rules that compare with the object's earlier state, which only the API server knows.
    ``message`` names the field and the remedy.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None


def _whole(value: Any) -> Any:
    """1.0 is the integer 1 to the API server."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _say_what_the_api_server_checks(schema: dict[str, Any], model: type["Model"]) -> None:
    if model.rules:
        schema["x-kubernetes-validations"] = [{"rule": rule.cel, "message": rule.message} for rule in model.rules]
    if model.model_config.get("extra") == "allow":
        schema["x-kubernetes-preserve-unknown-fields"] = True


class Model(BaseModel):
    """A part of a manifest: immutable, camelCase on the wire, unknown fields refused.

    Python code builds it by snake_case names; manifests are read by ``from_wire``, which knows the wire's names only.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=wire_name,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        json_schema_extra=_say_what_the_api_server_checks,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def from_wire(cls, manifest: Mapping[str, Any], *, prune: bool = False) -> Self:
        """Read a manifest or a part of one; raises ``ValidationError``.

        With ``prune`` unknown fields are dropped instead of refused: for objects that an API server has admitted.
        """
        return cls.model_validate(manifest, by_alias=True, by_name=False, context=PRUNE if prune else None)

    def to_wire(self) -> dict[str, Any]:
        """The manifest of this value, defaults filled in and absent fields left out."""
        return self.model_dump(mode="json", by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _admit_as_the_api_server_does(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, Mapping):
            return data
        known = set(cls.model_fields) | {about.alias for about in cls.model_fields.values()}
        pruning = bool(info.context and info.context.get("prune")) and cls.model_config.get("extra") == "forbid"
        return {
            key: _whole(value) if key in known else value
            for key, value in data.items()
            if (value is not None if key in known else not pruning)
        }

    @model_serializer(mode="wrap")
    def _leave_out_what_is_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        for name, about in type(self).model_fields.items():
            key = about.alias or name
            if (
                not about.is_required()
                and key in written
                and written[key] in ((None,) if about.default is None else ("", [], {}))
            ):
                del written[key]
        return written

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for rule in self.rules:
            if rule.holds is not None and not rule.holds(self):
                raise PydanticCustomError("rule", "{message}", {"message": rule.message})
        return self


def _admit_values(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items() if item is not None}
    return value


@dataclass(frozen=True, slots=True)
class Unique:
    """Marks a list whose items are unique by ``keys`` (wire names), or as whole scalars when no key is named.

    Emits the list type that lets server-side apply merge such a list item by item.
    """

    keys: tuple[str, ...] = field(default=())

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        emitted = handler(schema)
        emitted["x-kubernetes-list-type"] = "map" if self.keys else "set"
        if self.keys:
            emitted["x-kubernetes-list-map-keys"] = list(self.keys)
        return emitted

    def _check(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        seen = set()
        for item in items:
            identity = tuple(item.to_wire().get(key) for key in self.keys) if self.keys else item
            if identity in seen:
                shown = ", ".join(map(str, identity)) if isinstance(identity, tuple) else identity
                raise PydanticCustomError("duplicate", "duplicate entry: {shown}", {"shown": shown})
            seen.add(identity)
        return items


# As strict as the API server: "5" is no integer, and only true and false are booleans.
Int = Annotated[int, Strict()]
Bool = Annotated[bool, Strict()]
# Arbitrary JSON, kept as it is; a null inside it is data.
JsonObject = Mapping[str, JsonValue]
# For maps of scalars.
NullsDropped = BeforeValidator(_admit_values)


def explain_faults(error: ValidationError) -> tuple[str, ...]:
    """One line per fault, each beginning with the field's path in the manifest: ``spec.handler.http.port: …``."""
    return tuple(_explain(error))


def _explain(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_context=False):
        path = ""
        for step in fault["loc"]:
            path += f"[{step}]" if isinstance(step, int) else f".{step}"
        yield f"{path.lstrip('.') or 'manifest'}: {fault['msg']}"
