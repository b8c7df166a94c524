"""Read constants from an ONNX file and write small ONNX models, without the `onnx` package.

An ONNX file is one protobuf message, `ModelProto`. This module supports only the messages and
fields that a speech model needs. The field numbers are from `onnx.proto`. Field numbers of an
existing field never change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Tensor: TypeAlias = NDArray[Any]

# The version of the ONNX format that `write_model` writes. onnxruntime 1.11 and newer can read it.
IR_VERSION = 8
OPSET_VERSION = 16

_DATA_TYPES: Mapping[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
}
_DATA_TYPE_NUMBERS = {dtype: number for number, dtype in _DATA_TYPES.items()}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_INT_ATTRIBUTE, _STRING_ATTRIBUTE, _INTS_ATTRIBUTE = 2, 3, 7


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a graph.

    Attributes:
        operator: Name of the ONNX operator.
        inputs: Names of the input values; an empty name omits an optional input.
        outputs: Names of the output values.
        attributes: Attributes of the operator: integers, strings or lists of integers.
    """

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, int | str | Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of a graph.

    Attributes:
        name: Name of the value.
        dtype: Type of the elements.
        shape: Length of each dimension; a string names a length that varies. None leaves the
            shape to be inferred.
    """

    name: str
    dtype: str
    shape: Sequence[int | str] | None = None


def read_branches(model: bytes) -> list[dict[str, Tensor]]:
    """Read the constants of the subgraphs of a model.

    Args:
        model: Content of an ONNX file.

    Returns:
        For each subgraph that is an attribute of a top-level node, such as a branch of an `If`:
        the values of its `Constant` nodes by output name.

    Raises:
        ValueError: The content is not a protobuf message or has an unknown tensor type.
    """
    return [
        dict(_constants(subgraph))
        for graph in _messages(memoryview(model), 7)
        for node in _messages(graph, 1)
        for attribute in _messages(node, 5)
        for subgraph in _messages(attribute, 6)
    ]


def write_model(
    nodes: Sequence[Node],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    constants: Mapping[str, Tensor],
) -> bytes:
    """Return the content of an ONNX file with one graph.

    Args:
        nodes: Operations of the graph; each operation follows the operations that make its inputs.
        inputs: Inputs of the graph.
        outputs: Outputs of the graph.
        constants: Constant values by name.
    """
    graph = b"".join(
        [
            *(_bytes(1, _node(node)) for node in nodes),
            _bytes(2, b"graph"),
            *(_bytes(5, _tensor(name, value)) for name, value in constants.items()),
            *(_bytes(11, _value(value)) for value in inputs),
            *(_bytes(12, _value(value)) for value in outputs),
        ]
    )
    opset = _bytes(1, b"") + _integer(2, OPSET_VERSION)
    return _integer(1, IR_VERSION) + _bytes(8, opset) + _bytes(7, graph)


def _constants(graph: memoryview) -> Iterator[tuple[str, Tensor]]:
    for node in _messages(graph, 1):
        if _text(node, 4) == "Constant":
            for attribute in _messages(node, 5):
                for tensor in _messages(attribute, 5):
                    yield _text(node, 2), _read_tensor(tensor)


def _read_tensor(tensor: memoryview) -> Tensor:
    shape: list[int] = []
    dtype: np.dtype[Any] | None = None
    data: memoryview | None = None
    for number, value in _fields(tensor):
        if number == 1:
            shape += [value] if isinstance(value, int) else _packed(value)
        elif number == 2 and isinstance(value, int):
            dtype = _DATA_TYPES.get(value)
        elif number == 9 and not isinstance(value, int):
            data = value
    if dtype is None or data is None:
        # The caller needs only tensors with one of these types and with the field `raw_data`.
        return np.empty(0, np.float32)
    return np.frombuffer(data, dtype).reshape(shape)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of each field of a message. A value is an int or bytes."""
    position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _read_varint(message, position)
            yield number, value
            continue
        if kind == _BYTES:
            length, position = _read_varint(message, position)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"protobuf field {number} has the unsupported wire type {kind}")
        if position + length > len(message):
            raise ValueError(f"protobuf field {number} is longer than its message")
        yield number, message[position : position + length]
        position += length


def _messages(message: memoryview, number: int) -> Iterator[memoryview]:
    for found, value in _fields(message):
        if found == number and not isinstance(value, int):
            yield value


def _text(message: memoryview, number: int) -> str:
    """Return the first value of a string field, or an empty string."""
    return next((bytes(value).decode() for value in _messages(message, number)), "")


def _packed(data: memoryview) -> list[int]:
    values, position = [], 0
    while position < len(data):
        value, position = _read_varint(data, position)
        values.append(value)
    return values


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("a protobuf number is longer than 64 bits or than its message")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _node(node: Node) -> bytes:
    return b"".join(
        [
            *(_bytes(1, name.encode()) for name in node.inputs),
            *(_bytes(2, name.encode()) for name in node.outputs),
            _bytes(4, node.operator.encode()),
            *(_bytes(5, _attribute(name, value)) for name, value in node.attributes.items()),
        ]
    )


def _attribute(name: str, value: int | str | Sequence[int]) -> bytes:
    named = _bytes(1, name.encode())
    if isinstance(value, int):
        return named + _integer(3, value) + _integer(20, _INT_ATTRIBUTE)
    if isinstance(value, str):
        return named + _bytes(4, value.encode()) + _integer(20, _STRING_ATTRIBUTE)
    numbers = b"".join(_integer(8, number) for number in value)
    return named + numbers + _integer(20, _INTS_ATTRIBUTE)


def _tensor(name: str, tensor: Tensor) -> bytes:
    dtype = tensor.dtype.newbyteorder("<")
    return b"".join(
        [
            *(_integer(1, length) for length in tensor.shape),
            _integer(2, _DATA_TYPE_NUMBERS[dtype]),
            _bytes(8, name.encode()),
            _bytes(9, tensor.astype(dtype).tobytes()),
        ]
    )


def _value(value: Value) -> bytes:
    tensor_type = _integer(1, _DATA_TYPE_NUMBERS[np.dtype(value.dtype).newbyteorder("<")])
    if value.shape is not None:
        tensor_type += _bytes(2, b"".join(_bytes(1, _dimension(length)) for length in value.shape))
    return _bytes(1, value.name.encode()) + _bytes(2, _bytes(1, tensor_type))


def _dimension(length: int | str) -> bytes:
    return _integer(1, length) if isinstance(length, int) else _bytes(2, length.encode())
