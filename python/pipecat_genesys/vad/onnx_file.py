"""Reads the constants of an ONNX file.

An ONNX file is one protobuf message, `ModelProto`. The package `onnx`, which defines this message,
is large, and pipecat does not install it. This module defines the fields that it reads for the
package `protobuf`, which pipecat installs. The field numbers are from `onnx.proto`; the number of
an existing field never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from numpy.typing import NDArray

Tensor: TypeAlias = NDArray[np.float32]

_FLOAT = 1
_PACKAGE = "pipecat_genesys.onnx"
# The type of a field is the name of a message, or the name of a protobuf type.
_FIELDS = {
    "ModelProto": [("graph", 7, "GraphProto")],
    "GraphProto": [("repeated node", 1, "NodeProto")],
    "NodeProto": [
        ("repeated output", 2, "string"),
        ("op_type", 4, "string"),
        ("repeated attribute", 5, "AttributeProto"),
    ],
    "AttributeProto": [("t", 5, "TensorProto"), ("g", 6, "GraphProto")],
    "TensorProto": [
        ("repeated dims", 1, "int64"),
        ("data_type", 2, "int32"),
        ("raw_data", 9, "bytes"),
    ],
}


def read_branches(model: bytes) -> list[dict[str, Tensor]]:
    """Read the constants of the subgraphs of a model.

    Args:
        model: Content of an ONNX file.

    Returns:
        For each subgraph that is an attribute of a top-level node, such as a branch of an `If`:
        the values of its `Constant` nodes by output name. Only constants of 32-bit floats are
        returned.

    Raises:
        ValueError: The content is not a protobuf message, or a constant is invalid.
    """
    file = _model_proto()()
    try:
        file.ParseFromString(model)
    except message.DecodeError as error:
        raise ValueError(f"the file is not a protobuf message: {error}") from error
    return [
        dict(_constants(attribute.g))
        for node in file.graph.node
        for attribute in node.attribute
        if attribute.HasField("g")
    ]


def _constants(graph: Any) -> Iterator[tuple[str, Tensor]]:
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                tensor = attribute.t
                if tensor.data_type == _FLOAT:
                    values = np.frombuffer(tensor.raw_data, "<f4").astype(np.float32)
                    yield node.output[0], values.reshape(tensor.dims)


@cache
def _model_proto() -> Any:
    """Return the class of the message `ModelProto`."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE)
    for name, fields in _FIELDS.items():
        proto = file.message_type.add(name=name)
        for field, number, kind in fields:
            added = proto.field.add(name=field.split()[-1], number=number)
            repeated = field.startswith("repeated ")
            added.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in _FIELDS:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                added.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName(f"{_PACKAGE}.ModelProto")
    return message_factory.GetMessageClass(found)
