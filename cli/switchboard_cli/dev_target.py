"""What `switchboard dev` was asked to run, checked before anything starts."""

import ast
import itertools
import random
import socket
from dataclasses import dataclass
from pathlib import Path

from switchboard_wire.agent_id import parse_agent_id
from switchboard_wire.errors import SwitchboardError
from switchboard_wire.names import GATEWAY_GRPC_PORT, GATEWAY_HTTP_PORT

# Below the ports of outgoing connections on Linux and those of NodePorts: whoever asks the system for any port, as each
# of our programs does for a port or two, gets none of these between the look and the start
FREE_PORTS = range(15_000, 20_000)


class DevError(Exception):
    """`switchboard dev` cannot start; one line that says what to do."""


@dataclass(frozen=True, slots=True)
class CodeTarget:
    """folder: goes on sys.path. entry: module:attribute, or None for every decorated agent of the module."""

    folder: Path
    module: str
    entry: str | None = None

    @property
    def file(self) -> Path:
        """The module's file, whether it is there or not."""
        path = self.folder.joinpath(*self.module.split("."))
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def find_target(text: str, cwd: Path) -> CodeTarget:
    """Read FILE, MODULE:ATTR or FILE:ATTR. Raises DevError: no such file, not Python, no agent in it."""
    before, colon, attribute = text.partition(":")
    if not colon:
        path = _find_file(text, cwd)
        if not defines_agent(path.read_text(errors="replace")):
            raise DevError(f"{text} has no agent: decorate a function with @agent (from switchboard import agent)")
        return CodeTarget(path.parent, path.stem)
    if not before or not all(part.isidentifier() for part in attribute.split(".")):
        raise DevError(f"{text!r}: write MODULE:ATTR, for example app:summarize")
    if before.endswith(".py"):
        path = _find_file(before, cwd)
        return CodeTarget(path.parent, path.stem, f"{path.stem}:{attribute}")
    target = CodeTarget(cwd, before, text)
    if not target.file.exists():
        raise DevError(f"{target.file} does not exist: {text!r} means {attribute!r} of module {before!r}")
    return target


def _find_file(text: str, cwd: Path) -> Path:
    path = cwd / text
    if path.is_dir():
        raise DevError(f"{text} is a folder: name a Python file, for example {text.rstrip('/')}/app.py")
    if not path.exists():
        raise DevError(f"{text} does not exist")
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise DevError(f"{text} cannot be imported: a Python file is named like app.py, of letters, digits and '_'")
    return path.resolve()


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """An HTTP server of the user's. path: empty for the sidecar's default."""

    type: str
    port: int
    path: str = ""


def read_http_target(text: str) -> HttpTarget:
    """Read TYPE=PORT[/PATH]. Raises DevError."""
    type_, equals, rest = text.partition("=")
    port, slash, path = rest.partition("/")
    if not equals or not port.isdecimal() or not 0 < int(port) < 65536:
        raise DevError(f"--http {text}: write TYPE=PORT or TYPE=PORT/PATH, for example translator=8000")
    try:
        return HttpTarget(parse_agent_id(type_).type, int(port), slash + path)
    except SwitchboardError as error:
        raise DevError(f"--http {text}: {error.message}") from None


def defines_agent(source: str) -> bool:
    """Whether a decorator called agent is in the text; text that does not parse may have one, the host tells more."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return True
    decorated = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = {"agent"} | {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == "agent" and alias.asname
    }
    found = (decorator for node in ast.walk(tree) if isinstance(node, decorated) for decorator in node.decorator_list)
    return any(_name_of(decorator) in names for decorator in found)


def _name_of(decorator: ast.expr) -> str:
    if isinstance(decorator, ast.Call):
        decorator = decorator.func
    if isinstance(decorator, ast.Attribute):
        return decorator.attr
    return decorator.id if isinstance(decorator, ast.Name) else ""


@dataclass(frozen=True, slots=True)
class Ports:
    """grpc and http are the public ones; the others are inside."""

    grpc: int
    http: int
    links: int
    gateway_ops: int
    sidecar_ops: int


def choose_ports(grpc: int | None, http: int | None) -> Ports:
    """The ports asked for, or else the usual ones, or free ones. Raises DevError when one asked for is taken."""
    chosen_grpc = _public(grpc, GATEWAY_GRPC_PORT, "--port")
    chosen_http = _public(http, GATEWAY_HTTP_PORT, "--http-port")
    if chosen_grpc == chosen_http:
        raise DevError(f"--port and --http-port are both {chosen_grpc}: say two ports")
    return Ports(chosen_grpc, chosen_http, *_free_ports(3, {chosen_grpc, chosen_http}))


def _public(wanted: int | None, usual: int, option: str) -> int:
    if wanted is not None and not _is_free(wanted):
        raise DevError(f"port {wanted} is taken: stop what listens there, or give another one with {option}")
    if wanted is not None:
        return wanted
    return usual if _is_free(usual) else _free_ports(1, set())[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_ports(count: int, but: set[int]) -> list[int]:
    """Ports that differ, none of them in `but`, and were free a moment ago."""
    drawn = random.SystemRandom().sample(FREE_PORTS, len(FREE_PORTS))
    free = (port for port in drawn if port not in but and _is_free(port))
    return list(itertools.islice(free, count))
