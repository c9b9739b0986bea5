"""Keep the public messages compatible: what `proto/public-fields.txt` records must still be there, as it was.

A line is `message number name type label`. A field may be added, never renumbered, retyped, renamed or removed;
--update records the new ones and refuses the rest just so.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from switchboard_wire.v1 import frames_pb2, gateway_pb2

RECORD = Path(__file__).resolve().parent.parent / "proto" / "public-fields.txt"


def read_fields() -> Iterator[str]:
    """Every field and every enum value of package switchboard.v1, a line each."""
    for module in (frames_pb2, gateway_pb2):
        for message in module.DESCRIPTOR.message_types_by_name.values():
            yield from _fields(message)
        for enum in module.DESCRIPTOR.enum_types_by_name.values():
            yield from _values(enum)
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"{service.full_name} {method.name} {method.input_type.full_name} {method.output_type.full_name}"


def _fields(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        yield f"{message.full_name} {field.number} {field.name} {_type(field)}"
    for nested in message.nested_types:
        yield from _fields(nested)


def _values(enum: EnumDescriptor) -> Iterator[str]:
    for value in enum.values:
        yield f"{enum.full_name} {value.number} {value.name}"


def _type(field: FieldDescriptor) -> str:
    reference = field.message_type or field.enum_type
    name = reference.full_name if reference else f"type-{field.type}"
    return f"repeated {name}" if field.is_repeated else name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="record the fields that are new")
    update = parser.parse_args().update
    now = set(read_fields())
    recorded = set(RECORD.read_text().splitlines()) if RECORD.exists() else set()
    broken, new = sorted(recorded - now), sorted(now - recorded)
    for line in broken:
        print(f"public message changed: {line!r} is gone; give it back, and use a new field number for the new meaning")
    if broken:
        return 1
    if new and not update:
        print(f"{len(new)} public fields are not recorded in {RECORD.name}: run make generate")
        return 1
    if new:
        RECORD.write_text("\n".join(sorted(now)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
