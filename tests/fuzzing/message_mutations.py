"""Owns how messages of the protos are changed: field by field, so that they stay messages."""

import hashlib
import math
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from fuzzing.mutations import Basic, Mutation, change_parts
from fuzzing.parts import join_parts, split_parts

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-1, 9),
}
_FLOATS = (0.0, -1.0, 0.5, 1.0, 1e-300, 1e300, math.inf, -math.inf, math.nan)
_TEXTS = ("", "x", "\0", "é", "a" * 129, "../../x", "0" * 32)
_MOST_ITEMS = 64


def change_message(kind: type[Message]) -> Mutation:
    """Return a mutation of one serialised message."""

    def change(content: bytes, most_bytes: int, rng: Random, basic: Basic) -> bytes:
        if rng.random() < 0.2:
            return basic(content, most_bytes)
        return _change(kind, content, rng, basic)[:most_bytes]

    return change


def change_messages(kind: type[Message]) -> Mutation:
    """Return a mutation of a stream of serialised messages."""

    def change(content: bytes, most_bytes: int, rng: Random, basic: Basic) -> bytes:
        parts = split_parts(content)
        if not parts or rng.random() < 0.1:
            return basic(content, most_bytes)
        changed = change_parts(parts, rng, lambda part: _change(kind, part, rng, basic))
        if rng.random() < 0.5:
            changed = _mend_digests(kind, changed)
        return join_parts(changed)[:most_bytes]

    return change


def _change(kind: type[Message], content: bytes, rng: Random, basic: Basic) -> bytes:
    message = kind()
    try:
        message.ParseFromString(content)
    except DecodeError:
        return basic(content, max(len(content), 1))
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change_field(message, rng, basic)
    return message.SerializeToString()


def _change_field(message: Message, rng: Random, basic: Basic) -> None:
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    field = rng.choice(fields)
    if rng.random() < 0.1:
        message.ClearField(field.name)
    elif field.is_repeated:
        _change_items(getattr(message, field.name), field, rng, basic)
    elif field.message_type:
        child = getattr(message, field.name)
        child.SetInParent()
        _change_field(child, rng, basic)
    else:
        setattr(message, field.name, _scalar(field, getattr(message, field.name), rng, basic))


def _change_items(items: Any, field: FieldDescriptor, rng: Random, basic: Basic) -> None:  # Any: of whichever kind
    place = rng.randrange(len(items)) if items else 0
    what = rng.randrange(3)
    if items and (what == 0 or len(items) >= _MOST_ITEMS):
        del items[place]
    elif field.message_type:
        _change_field(items[place] if items and what == 1 else items.add(), rng, basic)
    elif items and what == 1:
        items[place] = _scalar(field, items[place], rng, basic)
    else:
        items.append(_scalar(field, field.default_value, rng, basic))


def _scalar(field: FieldDescriptor, value: Any, rng: Random, basic: Basic) -> Any:  # Any: of the field's own type
    if field.cpp_type in _INTEGERS:
        least, most = _INTEGERS[field.cpp_type]
        near = value + rng.choice((-1, 1)) if isinstance(value, int) else 0
        return min(most, max(least, rng.choice((least, most, 0, 1, 2, 3, 16, 1023, 1024, near, rng.randint(0, 9)))))
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_STRING:
            return rng.choice(_TEXTS)
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return rng.choice((*_FLOATS, rng.gauss(0, 10)))
        case _:
            return basic(value or b"", 256)


def _mend_digests(kind: type[Message], parts: list[bytes]) -> list[bytes]:
    """Return a stream of an upload in which each file ends with its own SHA-256, as clients do it."""
    if "file_end" not in kind.DESCRIPTOR.fields_by_name:
        return parts
    digest = hashlib.sha256()
    mended: list[bytes] = []
    for part in parts:
        message: Any = kind()  # Any: one of two kinds with the same fields
        try:
            message.ParseFromString(part)
        except DecodeError:
            mended.append(part)
            continue
        match message.WhichOneof("payload"):
            case "file_header":
                digest = hashlib.sha256()
            case "chunk":
                digest.update(message.chunk)
            case "file_end":
                message.file_end.sha256 = digest.digest()
        mended.append(message.SerializeToString())
    return mended
