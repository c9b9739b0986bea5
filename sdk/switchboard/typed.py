"""From payloads to the types that annotations name. Structured types are pydantic's work, imported when one is met."""

import inspect
from collections.abc import Callable
from typing import Any

from switchboard.content import decode, decode_json, decode_text, is_json, is_text
from switchboard_wire.errors import failure
from switchboard_wire.v1 import frames_pb2 as pb

Converter = Callable[[bytes, str], Any]
_JSON_KINDS: dict[Any, str] = {
    dict: "a JSON object",
    list: "a JSON array",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def converter_of(annotation: Any) -> Converter:
    """What turns (data, content type) into the annotated type.

    The converter raises ValidationFailed; its details name the `field`. TypeError: a type that cannot be read.
    """
    if annotation in (inspect.Parameter.empty, Any, object):
        return decode
    if annotation is str:
        return read_text
    if annotation is bytes:
        return lambda data, _: data
    if annotation is None or annotation is type(None):
        return lambda _data, _type: None
    if annotation in _JSON_KINDS:
        return _plain_json(annotation)
    return _structured(annotation)


def read_text(data: bytes, content_type: str) -> str:
    """Text from text, or from a JSON string."""
    if is_json(content_type):
        value = decode_json(data)
        if not isinstance(value, str):
            raise failure(pb.VALIDATION_FAILED, f"the handler takes text, the payload is JSON {_kind_of(value)}")
        return value
    return decode_text(data)


def _kind_of(value: object) -> str:
    names = {dict: "object", list: "array", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), "string")


def _read_json(data: bytes, content_type: str, wanted: str) -> Any:
    if is_text(content_type) and data[:1] not in b'{["-0123456789tfn':
        raise failure(pb.VALIDATION_FAILED, f"the handler takes {wanted}, the payload is text")
    return decode_json(data)


def _plain_json(kind: type) -> Converter:
    wanted = _JSON_KINDS[kind]

    def convert(data: bytes, content_type: str) -> Any:
        value = _read_json(data, content_type, wanted)
        if kind is float and type(value) is int:
            return float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise failure(pb.VALIDATION_FAILED, f"the handler takes {wanted}, the payload is JSON {_kind_of(value)}")
        return value

    return convert


def _structured(annotation: Any) -> Converter:
    try:
        from pydantic import TypeAdapter, ValidationError
        from pydantic.errors import PydanticSchemaGenerationError
    except ImportError:
        name = getattr(annotation, "__name__", annotation)
        raise TypeError(f"a payload of type {name} needs pydantic, which is not installed") from None
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    except PydanticSchemaGenerationError as error:
        raise TypeError(f"payloads cannot be read as {annotation!r}: {str(error).splitlines()[0]}") from None

    def convert(data: bytes, content_type: str) -> Any:
        try:
            if is_text(content_type):
                return adapter.validate_python(_text_or_json(data))
            return adapter.validate_json(data or b"null")
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
            where = f"{field}: " if field else ""
            raise failure(pb.VALIDATION_FAILED, f"{where}{first['msg']}{more}", field=field) from None

    return convert


def _text_or_json(data: bytes) -> Any:
    text = decode_text(data)
    return decode_json(data) if text[:1] in ("{", "[") else text
