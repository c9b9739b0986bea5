"""CloudEvents 1.0 over HTTP, as events for a topic (https://github.com/cloudevents/spec, HTTP binding). Pure.

`id` becomes the message's id, `type` must be the topic, `source` is the topic's source unless the query names another;
every other attribute travels as a header of the message, `ce-NAME`.
"""

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

from switchboard_gateway.rest.json_body import JSON, Value, invalid, is_text, read_object
from switchboard_wire.calls import Payload
from switchboard_wire.v1 import frames_pb2 as pb

STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"
SPECVERSION: Final = "ce-specversion"
PREFIX: Final = "ce-"
MAX_ID: Final = 256
_REQUIRED: Final = ("specversion", "id", "source", "type")


def apply_binary(headers: Iterable[tuple[str, str]], opened: pb.Open) -> None:
    """Take an event whose attributes are headers and whose data is the body. Raises SwitchboardError."""
    found = {name.lower().removeprefix(PREFIX): value for name, value in headers if name.lower().startswith(PREFIX)}
    try:
        _apply({name: unquote(value, errors="strict") for name, value in found.items()}, opened)
    except UnicodeDecodeError as error:
        raise invalid("a ce- header is no percent-encoded UTF-8") from error


def apply_structured(body: bytes, opened: pb.Open) -> Payload:
    """Take an event that is one JSON object; returns its data. Raises SwitchboardError."""
    members = read_object(body)
    data, encoded = members.pop("data", None), members.pop("data_base64", None)
    kind = members.pop("datacontenttype", None)
    content_type = JSON if kind is None else _text("datacontenttype", kind)
    _apply({name: _text(name, value) for name, value in members.items() if value.value is not None}, opened)
    if encoded is not None:
        if data is not None:
            raise invalid("the event has both data and data_base64: keep one")
        return Payload(_decode(encoded), content_type)
    if data is None:
        return Payload()
    is_json = content_type.partition(";")[0].strip().lower().endswith("json")
    text = data.value if isinstance(data.value, str) and not is_json else data.text
    if not is_text(text):
        raise invalid("data: half of a surrogate pair is no text; send the whole pair")
    return Payload(text.encode(), content_type)


def _apply(attributes: dict[str, str], opened: pb.Open) -> None:
    for name in _REQUIRED:
        if not attributes.get(name):
            raise invalid(f"the event has no {name}")
    if attributes.pop("specversion") != "1.0":
        raise invalid("specversion must be 1.0")
    type_, topic = attributes.pop("type"), opened.target.topic
    if type_ != topic:
        raise invalid(f"the event's type {type_[:80]!a} is not the topic of the path, {topic[:80]!a}")
    message_id = attributes.pop("id")
    if len(message_id) > MAX_ID:
        raise invalid(f"the event's id has over {MAX_ID} characters")
    for name, value in attributes.items():
        if not (is_text(name) and is_text(value)):
            raise invalid(f"the event's attribute {name[:40]!a} is no text")
    opened.message_id = message_id
    source = attributes.pop("source")
    if not opened.target.topic_source:
        opened.target.topic_source = source
    opened.headers.update({PREFIX + name: value for name, value in attributes.items()})


def _text(name: str, given: Value) -> str:
    """An attribute as CloudEvents writes it: strings as they are, booleans and integers in JSON's words."""
    value = given.value
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int)):
        return json.dumps(value)
    raise invalid(f"the event's attribute {name[:40]!a} must be a string, a boolean or an integer")


def _decode(given: Value) -> bytes:
    try:
        return base64.b64decode(given.value if isinstance(given.value, str) else "!", validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("data_base64 is no base64") from error
