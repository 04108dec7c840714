"""graph.py - builds an ONNX graph node by node."""
import os
import sys

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

MICROSOFT = "com.microsoft"
F32, F16, BF16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
I64, I32, I8, U8, BOOL = (TensorProto.INT64, TensorProto.INT32, TensorProto.INT8,
                          TensorProto.UINT8, TensorProto.BOOL)
NUMPY = {F32: "<f4", F16: "<f2", I64: "<i8", I32: "<i4", U8: "u1"}
SMALLEST_EXTERNAL = 1024  # the loader reads shapes and scalars before the data file
PAGE = 4096
LARGEST_FILE = 2000000000  # protobuf's 2 GiB, with room for the nodes


def _bytes(x, dtype):
    if dtype != BF16:
        return np.ascontiguousarray(x, NUMPY[dtype]).tobytes()
    bits = np.ascontiguousarray(x, "<f4").view("<u4").astype(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


class Graph:
    """`nodes` is where op() appends; a branch of an If swaps it for a while."""

    def __init__(self, data_path=None):
        self.model = ModelProto(ir_version=7, producer_name="nanovllm")
        self.nodes, self.inputs, self.outputs = [], [], []
        self.num_bytes = 0  # of the weights within the file
        self.consts, self.num_values = {}, 0
        self.data_path = data_path
        self.data = open(data_path, "wb") if data_path else None

    def op(self, kind, *inputs, out=None, domain="", **attributes):
        """-> the name of the output, or the list of names if `out` is a list or a number"""
        if isinstance(out, int):
            out = [None] * out
        single = not isinstance(out, list)
        names = []
        for name in [out] if single else out:
            if name is None:
                self.num_values += 1
                name = "%s_%d" % (kind, self.num_values)
            names.append(name)
        self.nodes.append(helper.make_node(kind, list(inputs), names, domain=domain,
                                           name="node_" + names[0], **attributes))
        return names[0] if single else names

    def contrib(self, kind, *inputs, **rest):
        return self.op(kind, *inputs, domain=MICROSOFT, **rest)

    def const(self, value, dtype=I64):
        key = (dtype, np.shape(value), tuple(np.ravel(value)))
        if key not in self.consts:
            self.consts[key] = self.weight("const_%d" % len(self.consts), np.array(value), dtype)
        return self.consts[key]

    def weight(self, name, x, dtype):
        tensor = self.model.graph.initializer.add(name=name, data_type=dtype, dims=x.shape)
        raw = _bytes(x, dtype)
        if self.data and len(raw) >= SMALLEST_EXTERNAL:
            self.data.write(b"\0" * (-self.data.tell() % PAGE))
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", os.path.basename(self.data_path)),
                               ("offset", self.data.tell()), ("length", len(raw))):
                tensor.external_data.add(key=key, value=str(value))
            self.data.write(raw)
        else:
            tensor.raw_data = raw
            self.num_bytes += len(raw)
            if self.num_bytes >= LARGEST_FILE:
                sys.exit("the weights are too large for one file: pass --external")
        return name

    def input(self, name, dtype, shape):
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name, dtype, shape):
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def branch(self, name, build):
        """build() -> names of its outputs; its nodes become a graph of their own."""
        outer, self.nodes = self.nodes, []
        outputs = build()
        graph = helper.make_graph(self.nodes, name, [], [
            helper.make_empty_tensor_value_info(o) for o in outputs])
        self.nodes = outer
        return graph

    def save(self, path, name):
        graph = self.model.graph
        graph.name = name
        graph.node.extend(self.nodes)
        graph.input.extend(self.inputs)
        graph.output.extend(self.outputs)
        self.model.opset_import.extend([helper.make_opsetid("", 14),
                                        helper.make_opsetid(MICROSOFT, 1)])
        if self.data:
            self.data.close()
        onnx.save(self.model, path)
