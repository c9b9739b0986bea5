"""The answer of a call as JSON, or as an HTTP answer of its own type. Pure."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from switchboard_gateway.rest.json_body import JSON, TEXT, is_json
from switchboard_gateway.rest.request_headers import METADATA_PREFIX
from switchboard_wire.v1 import frames_pb2 as pb

BYTES: Final = "application/octet-stream"
MESSAGE_ID: Final = "Switchboard-Message-Id"
AGENT: Final = "Switchboard-Agent"
INSTANCE: Final = "Switchboard-Instance"
PROCESSING_MS: Final = "Switchboard-Processing-Ms"
# RFC 9110 5.6.2; a handler's words become header lines only when they cannot end one
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_NAME: Final = re.compile(_TOKEN)
_MEDIA_TYPE: Final = re.compile(rf"{_TOKEN}/{_TOKEN}[ \t]*(?:;[ -~]*)?")


class Answer(NamedTuple):
    """A whole answer. close: the frame that ended the call, with all of the data."""

    message_id: str
    agent: str
    close: pb.Frame


def to_json(answer: Answer) -> bytes:
    """`{"id", "output", "agent", "instance", "processingMs"}`.

    output: text as a string, JSON as its value, no bytes of no type as null. Anything else is base64, and `encoding`
    says so. `contentType` is there for all but text/plain and application/json; `metadata` when the handler gave any.
    """
    content_type = answer.close.content_type
    kind = media_type(content_type)
    output, encoding = _output(answer.close.data, kind)
    members = [f'"id":{_quote(answer.message_id)}', f'"output":{output}']
    if encoding or kind not in (TEXT, JSON, ""):
        members.append(f'"contentType":{_quote(content_type or BYTES)}')
    if encoding:
        members.append(f'"encoding":{_quote(encoding)}')
    members.append(_facts(answer))
    return f"{{{','.join(members)}}}".encode()


def to_summary(answer: Answer) -> bytes:
    """What ends an event stream: the members of `to_json` without the output."""
    return f'{{"id":{_quote(answer.message_id)},{_facts(answer)}}}'.encode()


def to_results(answer: Answer) -> bytes:
    """Of a message to many: `{"id", "delivered", "failed", "results"}`, a result per receiver."""
    results = answer.close.data
    told = [entry["ok"] for entry in json.loads(results)]
    counts = f'"delivered":{told.count(True)},"failed":{told.count(False)}'
    return f'{{"id":{_quote(answer.message_id)},{counts},"results":'.encode() + results + b"}"


def to_headers(answer: Answer) -> dict[str, str]:
    """The headers of an answer whose body is the payload itself."""
    close = answer.close
    headers = {
        "Content-Type": safe_content_type(close.content_type),
        "X-Content-Type-Options": "nosniff",  # what an agent wrote is not ours to be guessed at
        MESSAGE_ID: answer.message_id,
        AGENT: answer.agent,
        INSTANCE: close.instance,
        PROCESSING_MS: str(close.processing_us / 1000),
    }
    for name, value in close.headers.items():
        if _NAME.fullmatch(name):
            headers[METADATA_PREFIX + name] = value
    return {name: value for name, value in headers.items() if value.isprintable()}


def safe_content_type(text: str) -> str:
    """A handler's content type when it is one, else that of plain bytes."""
    return text if _MEDIA_TYPE.fullmatch(text) else BYTES


def media_type(content_type: str) -> str:
    """`type/subtype` in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_textual(kind: str) -> bool:
    """Whether a media type is text or JSON."""
    return kind.startswith("text/") or kind == JSON or kind.endswith("+json")


def _output(data: bytes, kind: str) -> tuple[str, str]:
    """JSON text of the output, and its encoding ("" when it stands for itself)."""
    if not data and not kind:
        return "null", ""
    if is_textual(kind):
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return _base64(data)
        if kind.startswith("text/"):
            return _quote_readably(text), ""
        if is_json(text):
            return text, ""
    return _base64(data)


def _base64(data: bytes) -> tuple[str, str]:
    return f'"{base64.b64encode(data).decode()}"', "base64"


def _facts(answer: Answer) -> str:
    close = answer.close
    facts = [
        f'"agent":{_quote(answer.agent)}',
        f'"instance":{_quote(close.instance)}',
        f'"processingMs":{close.processing_us / 1000}',
    ]
    if close.headers:
        facts.append(f'"metadata":{_quote_all(close.headers)}')
    return ",".join(facts)


# What json.dumps does with a string, without and with ensure_ascii=False
_quote = json.encoder.encode_basestring_ascii
_quote_readably = json.encoder.encode_basestring


def _quote_all(headers: Mapping[str, str]) -> str:
    return json.dumps(dict(headers))
