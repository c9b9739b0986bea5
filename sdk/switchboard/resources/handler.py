"""What answers an Agent's messages, and by what callers find it."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from switchboard.resources.base import Int, JsonObject, Model, Rule, Unique
from switchboard.resources.fields import VERSION_WORDS, VersionText, matches
from switchboard_wire.names import CAPABILITY, MAX_CAPABILITY_LENGTH, MAX_TOPIC_LENGTH, OPS_PORT, SEMVER, TOPIC

# module.path:attribute.path in ASCII, what the host imports.
ENTRY = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
# An absolute path of RFC 3986 without query and fragment; {agent} is where the agent's type goes.
HTTP_PATH = r"^/([A-Za-z0-9._~!$&()*+,;=:@%/-]|\{agent\})*$"
HEALTH_PATH = r"^/[A-Za-z0-9._~!$&()*+,;=:@%/-]*$"


class PythonHandler(Model):
    """A handler that the stock host imports."""

    entry: Annotated[str, StringConstraints(min_length=3, max_length=253)] = Field(
        description="What to import: module:attribute, for example app:summarize."
    )
    config: JsonObject = Field(
        default={},
        description="Given to the handler as it is. Not for secrets: it can be read with the Agent.",
        max_length=64,
    )

    rules = (
        Rule(
            f"self.entry.matches(r'{ENTRY}')",
            "handler.python.entry must read module:attribute, for example app:summarize or package.module:Class.method",
            lambda handler: matches(ENTRY, handler.entry),
        ),
    )


class HttpHandler(Model):
    """A handler behind any HTTP server in the pod, in any language."""

    port: Int = Field(description="Port on which the server listens, in the pod.", ge=1, le=65535)
    path: Annotated[str, StringConstraints(min_length=1, max_length=512)] = Field(
        default="/agents/{agent}/execute", description="Where messages are posted; {agent} stands for the agent's type."
    )

    health_path: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = Field(
        default=None,
        description="Path that answers GET with 2xx or 3xx while the server is well; the agent is ready only then. "
        "Left out: it is ready while its port accepts connections.",
    )

    rules = (
        Rule(
            f"self.path.matches(r'{HTTP_PATH}')",
            "handler.http.path must be an absolute path without query, like /execute; {agent} is its only placeholder",
            lambda handler: matches(HTTP_PATH, handler.path),
        ),
        Rule(
            f"!has(self.healthPath) || self.healthPath.matches(r'{HEALTH_PATH}')",
            "handler.http.healthPath must be an absolute path without query, like /healthz",
            lambda handler: handler.health_path is None or matches(HEALTH_PATH, handler.health_path),
        ),
        Rule(
            f"self.port != {OPS_PORT}",
            f"handler.http.port {OPS_PORT} is the sidecar's: let the server listen on another port",
            lambda handler: handler.port != OPS_PORT,
        ),
    )


class Handler(Model):
    """What answers the messages; when neither kind is named, the code registers itself."""

    python: PythonHandler | None = Field(
        default=None, description="A Python callable or class, imported by the stock host."
    )
    http: HttpHandler | None = Field(default=None, description="An HTTP server in the pod, in any language.")

    rules = (
        Rule(
            "!has(self.python) || !has(self.http)",
            "handler: python and http exclude each other, remove one (neither: the code registers the agent itself)",
            lambda handler: handler.python is None or handler.http is None,
        ),
    )


class Capability(Model):
    """Something that the agent can do, by which callers find it."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CAPABILITY_LENGTH)] = Field(
        description="Name of the capability, for example summarize."
    )
    version: VersionText = Field(default="1.0.0", description="Semantic version of the capability.")
    description: Annotated[str, StringConstraints(max_length=1024)] = Field(
        default="", description="What it does, in a line."
    )
    input_schema: JsonObject = Field(default={}, description="JSON Schema of the input.", max_length=64)
    output_schema: JsonObject = Field(default={}, description="JSON Schema of the output.", max_length=64)
    tags: Annotated[tuple[Annotated[str, StringConstraints(min_length=1, max_length=63)], ...], Unique()] = Field(
        default=(), description="Words to search by.", max_length=32
    )

    rules = (
        Rule(
            f"self.name.matches('{CAPABILITY}')",
            "capabilities: name must be lower-case letters, digits, '-', '_' and '.', a letter or digit first and last",
            lambda capability: matches(CAPABILITY, capability.name),
        ),
        Rule(
            f"self.version.matches(r'{SEMVER}')",
            f"capabilities: version {VERSION_WORDS}",
            lambda capability: matches(SEMVER, capability.version),
        ),
    )


class Topic(Model):
    """A topic to which the agent is subscribed."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TOPIC_LENGTH, pattern=TOPIC)] = Field(
        description="Type of the topic, or how it begins."
    )
    match: Literal["Exact", "Prefix"] = Field(
        default="Exact", description="Exact, or Prefix: every type that begins so."
    )
