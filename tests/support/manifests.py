"""Hypothesis strategies for manifests of both kinds, derived from the generated schemas.

``pools`` and ``agents`` make objects near the edge: most are well-formed, rules are broken now and then, and about half
carry one fault of form (a wrong type, a null, a bound overstepped, a field that does not exist).
"""

import copy
from typing import Any

from crdgen.crd import KINDS, root_schema
from crdgen.schema import Schema
from hypothesis import strategies as st

from switchboard_wire.names import AGENT, AGENT_NODE, API_VERSION

Manifest = dict[str, Any]
Path = tuple[str | int, ...]

SPECS: dict[str, Schema] = {kind.kind: root_schema(kind)["properties"]["spec"] for kind in KINDS}
WORDS = st.text("ab-._:/{}1A é\n", max_size=8)
# Values of strings that a rule and no pattern describes: the good first, because hypothesis shrinks to the first.
TOLD_BY_RULES: dict[str, tuple[str, ...]] = {
    "type": ("chat", "a" * 52, "a" * 53, "tasks", "Chat", "chat-", "1a", "chat\n"),
    "version": ("1.0.0", "0.1.20-rc.1+b5", "1.0.0-0a", "01.0.0", "1.0.0-", "1.0.0\n", "latest"),
    "entry": ("app:run", "a.b_1:C.d", "app", "app:", "a-b:c", "app:run\n", "app:ré"),
    "path": ("/", "/run", "/a/{agent}/b", "run", "/a?b", "/{key}", "/a b", "/a\n"),
    "name": ("agent", "web", "switchboard-x", "main", "a.b", "A"),
}
NAMES = st.sampled_from(("chat", "a" * 52, "a" * 53, "tasks", "chat.eu", "1chat"))
FAULTS = (
    None,
    "",
    "text",
    -1,
    0,
    7490,
    10**9,
    1.0,
    1.5,
    True,
    (),
    {},
    (None,),
    ("a", "a"),
    {"unknown": 1},
    {"a": None},
)


def pools() -> st.SearchStrategy[Manifest]:
    """AgentNodes."""
    return _objects(AGENT_NODE, _values(SPECS[AGENT_NODE], "spec"))


def agents() -> st.SearchStrategy[Manifest]:
    """Agents; most of them name exactly one placement."""
    return _objects(AGENT, _values(SPECS[AGENT], "spec").flatmap(_placed))


def _placed(spec: Manifest) -> st.SearchStrategy[Manifest]:
    placements = SPECS[AGENT]["properties"]
    kept = {name: value for name, value in spec.items() if name not in ("nodeRef", "nodeSelector", "node")}
    choices = [
        _values(placements[name], name).map(lambda value, name=name: {**kept, name: value})
        for name in ("nodeRef", "nodeSelector", "node")
    ]
    return st.one_of(*choices, *choices, st.just(spec))


def _objects(kind: str, specs: st.SearchStrategy[Manifest]) -> st.SearchStrategy[Manifest]:
    return st.builds(
        lambda name, spec: {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec},
        st.one_of(st.just("chat"), st.just("writers"), NAMES),
        specs.flatmap(lambda spec: st.one_of(st.just(spec), _with_fault(spec))),
    )


def _values(schema: Schema, name: str) -> st.SearchStrategy[Any]:
    """Values that the schema admits; what its rules forbid may be among them."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.one_of(st.integers(0, 9), st.sampled_from(("250m", "1Gi", "0.5")))
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            near = st.integers(schema["minimum"], min(schema["maximum"], schema["minimum"] + 20))
            return st.one_of(near, st.sampled_from((schema["minimum"], schema["maximum"])))
        case "string":
            return _strings(schema, name)
        case "array":
            items = st.lists(_values(schema["items"], name), max_size=3, unique_by=_identity(schema))
            return items if name != "containers" else st.one_of(st.just([]), items)
    if "properties" in schema:
        return _structures(schema)
    values = schema.get("additionalProperties")
    inner = (
        _values(values, "") if values else st.recursive(st.none() | WORDS, lambda deeper: st.lists(deeper, max_size=2))
    )
    return st.dictionaries(st.text("abc/.", min_size=1, max_size=5), inner, max_size=3)


def _structures(schema: Schema) -> st.SearchStrategy[Manifest]:
    required = set(schema.get("required", ()))
    fields = {name: _values(part, name) for name, part in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: values for name, values in fields.items() if name in required},
        optional={name: values for name, values in fields.items() if name not in required},
    )


def _strings(schema: Schema, name: str) -> st.SearchStrategy[str]:
    least, most = schema.get("minLength", 0), schema["maxLength"]
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}".rjust(20, "0"))
    if "pattern" in schema:
        found = st.from_regex(schema["pattern"].removesuffix("$") + r"\Z").filter(lambda text: text.isascii())
    elif name in TOLD_BY_RULES:
        found = st.sampled_from((TOLD_BY_RULES[name][0], *TOLD_BY_RULES[name]))
    else:
        found = WORDS
    return found.filter(lambda text: least <= len(text) <= most)


def _identity(schema: Schema) -> Any:
    keys = schema.get("x-kubernetes-list-map-keys")
    if not keys:
        return repr
    defaults = {key: schema["items"]["properties"][key].get("default") for key in keys}
    return lambda item: tuple(item.get(key, defaults[key]) for key in keys)


@st.composite
def _with_fault(draw: st.DrawFn, spec: Manifest) -> Manifest:
    """The spec with one of its values, at any depth, replaced by something else."""
    faulty = copy.deepcopy(spec)
    paths = list(_paths(faulty, ()))
    fault = copy.deepcopy(draw(st.sampled_from(FAULTS)))
    fault = list(fault) if isinstance(fault, tuple) else fault
    if not paths:
        return {"unknown": fault}
    *way, last = draw(st.sampled_from(paths))
    if last == "replicas" and fault == 1.0:
        fault = (
            2.0**0.5
        )  # alone of all integers the one behind /scale may not be written as 1.0, which is no matter here
    place: Any = faulty
    for step in way:
        place = place[step]
    if draw(st.booleans()) and isinstance(place[last], list) and place[last]:
        place[last].append(copy.deepcopy(place[last][0]))
    elif draw(st.booleans()) and isinstance(place[last], dict):
        place[last]["unknown"] = fault
    else:
        place[last] = fault
    return faulty


def _paths(value: Any, above: Path) -> list[Path]:
    steps: list[Any] = []
    if isinstance(value, dict):
        steps = list(value)
    elif isinstance(value, list):
        steps = list(range(len(value)))
    return [path for step in steps for path in ((*above, step), *_paths(value[step], (*above, step)))]
