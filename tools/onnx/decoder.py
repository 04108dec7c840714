"""decoder.py - the network's nodes, for each layout of the past."""
import math

import numpy as np

from graph import BF16, BOOL, F16, F32, I32, I64, I8, U8

LAYOUTS = ("concat", "packed", "none", "shared", "merged")
DAMAGES = ("no-logits", "no-ids", "head-mismatch", "missing-present", "missing-past",
           "not-decoder", "int8-past")
LOWEST = {F32: -3.4028235e38, F16: -65504.0}
BLOCK = 32  # of MatMulNBits


class Decoder:
    def __init__(self, graph, model, layout, dtype, int4=False, accuracy=0, position_ids=True,
                 damage=None):
        self.g, self.m, self.layout, self.dtype, self.int4 = graph, model, layout, dtype, int4
        self.accuracy, self.position_ids, self.damage = accuracy, position_ids, damage
        # CPU kernels have no bfloat16 arithmetic: it is a type of weights, past and logits
        self.compute = F32 if dtype == BF16 else dtype
        self.integer = I32 if layout == "packed" else I64
        self.weights = {}

    # Layers

    def cast(self, x, source, target):
        return x if source == target else self.g.op("Cast", x, to=target)

    def scalar(self, value):
        return self.g.const(value, self.compute)

    def weight(self, name, x):
        """Stored once in the file's type, and used in the type of the arithmetic."""
        if name not in self.weights:
            self.weights[name] = self.g.weight(name, x, self.dtype)
        return self.cast(name, self.dtype, self.compute)

    def linear(self, x, name, matrix, bias=None):
        g = self.g
        if self.int4:
            y = self.quantized(x, name, matrix)
        else:
            if name == "token_embd":  # tied: the embedding's rows serve both ways
                w = g.op("Transpose", self.weight(name + ".weight", matrix), perm=[1, 0])
            else:
                w = self.weight(name + ".weight_t", matrix.T)
            y = g.op("MatMul", x, w)
        return y if bias is None else g.op("Add", y, self.weight(name + ".bias", bias))

    def quantized(self, x, name, matrix):
        """The scales and the rounding of Q4_0: 16 levels of d * (q - 8), d an f16 number."""
        rows, columns = matrix.shape
        if name not in self.weights:
            self.weights[name] = name
            blocks = np.pad(matrix, ((0, 0), (0, -columns % BLOCK))).reshape(rows, -1, BLOCK)
            most = np.abs(blocks).argmax(axis=2)[:, :, None]
            d = np.take_along_axis(blocks, most, axis=2) / np.float32(-8)
            inverse = np.where(d != 0, 1 / np.where(d != 0, d, 1), 0).astype(np.float32)
            q = np.clip(np.floor(blocks * inverse + np.float32(8.5)), 0, 15).astype(np.uint8)
            self.g.weight(name + ".q4", q[:, :, 0::2] | (q[:, :, 1::2] << 4), U8)
            self.g.weight(name + ".scales", d.astype(np.float16).reshape(-1), self.compute)
        return self.g.contrib("MatMulNBits", x, name + ".q4", name + ".scales", K=columns,
                              N=rows, bits=4, block_size=BLOCK, accuracy_level=self.accuracy)

    def norm(self, x, name, scale, bias=None):
        g, m = self.g, self.m
        if self.layout == "shared" and bias is None:
            return g.op("SimplifiedLayerNormalization", x, self.weight(name, scale), axis=-1,
                        epsilon=m.eps, stash_type=1)
        y = self.cast(x, self.compute, F32)
        if bias is not None:
            y = g.op("Sub", y, g.op("ReduceMean", y, axes=[-1]))
        mean = g.op("ReduceMean", g.op("Pow", y, g.const(2.0, F32)), axes=[-1])
        root = g.op("Sqrt", g.op("Add", mean, g.const(m.eps, F32)))
        y = self.cast(g.op("Div", y, root), F32, self.compute)
        y = g.op("Mul", y, self.weight(name, scale))
        return y if bias is None else g.op("Add", y, self.weight(name + "_bias", bias))

    def named_norm(self, x, prefix, layer=None):
        get = self.m.get if layer is None else lambda name: self.m.layer(layer, name)
        name = prefix if layer is None else "blk.%d.%s" % (layer, prefix)
        return self.norm(x, name, get(prefix + ".weight"), get(prefix + ".bias"))

    def layer_linear(self, x, i, name):
        return self.linear(x, "blk.%d.%s" % (i, name), self.m.layer(i, name + ".weight"),
                           self.m.layer(i, name + ".bias"))

    def heads(self, x, n):
        return self.g.op("Reshape", x, self.g.const([0, 0, n, self.m.head_dim]))

    def qkv(self, x, i):
        """-> query, key, value [batch, tokens, heads, head_dim]"""
        g, m = self.g, self.m
        if m.layer(i, "attn_qkv.weight") is not None:
            parts = g.op("Split", self.layer_linear(x, i, "attn_qkv"),
                         g.const([n * m.head_dim for n in (m.heads, m.kv_heads, m.kv_heads)]),
                         out=3, axis=2)
        else:
            parts = [self.layer_linear(x, i, "attn_" + name) for name in "qkv"]
        q, k, v = (self.heads(p, n) for p, n in zip(parts, (m.heads, m.kv_heads, m.kv_heads)))
        if m.layer(i, "attn_q_norm.weight") is not None:
            q, k = self.named_norm(q, "attn_q_norm", i), self.named_norm(k, "attn_k_norm", i)
        return q, k, v

    def ffn(self, x, i):
        g = self.g
        up = self.layer_linear(x, i, "ffn_up")
        if self.m.arch == "gpt2":
            cube = g.op("Pow", up, self.scalar(3.0))
            inner = g.op("Add", up, g.op("Mul", cube, self.scalar(0.044715)))
            tanh = g.op("Tanh", g.op("Mul", inner, self.scalar(math.sqrt(2 / math.pi))))
            y = g.op("Mul", g.op("Mul", up, self.scalar(0.5)),
                     g.op("Add", tanh, self.scalar(1.0)))
        else:
            gate = self.layer_linear(x, i, "ffn_gate")
            y = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), up)
        return self.layer_linear(y, i, "ffn_down")

    # Attention of plain nodes

    def num_columns(self, x, axis):
        return self.g.op("Gather", self.g.op("Shape", x), self.g.const(axis), axis=0)

    def prepare(self, ids, mask, positions, past, causal):
        """What all layers share: rotation, and which column a token sees."""
        g, m = self.g, self.m
        tokens = self.num_columns(ids, 1)
        start = self.num_columns(past, 2) if past else g.const(0)
        columns = g.op("Add", start, tokens)
        rows = g.op("Range", start, columns, g.const(1))
        if positions is None:
            positions = g.op("Unsqueeze", rows, g.const([0]))
        visible = g.op("Unsqueeze", g.op("Cast", mask, to=BOOL), g.const([1, 2]))
        if causal:
            seen = g.op("LessOrEqual",
                        g.op("Unsqueeze", g.op("Range", g.const(0), columns, g.const(1)),
                             g.const([0])),
                        g.op("Unsqueeze", rows, g.const([1])))
            visible = g.op("And", seen, visible)
        rotation = None
        if m.inv_freq is not None:
            angle = g.op("Mul", g.op("Unsqueeze", g.op("Cast", positions, to=F32),
                                     g.const([1, 3])),
                         self.g.const(m.inv_freq, F32))
            angle = g.op("Concat", angle, angle, axis=-1)
            rotation = [self.cast(g.op(f, angle), F32, self.compute) for f in ("Cos", "Sin")]
        return positions, visible, rotation

    def rotate(self, x, rotation):
        """x: [batch, heads, tokens, head_dim]"""
        g, half = self.g, self.m.head_dim // 2
        low = g.op("Slice", x, g.const([0]), g.const([half]), g.const([3]))
        high = g.op("Slice", x, g.const([half]), g.const([2 * half]), g.const([3]))
        turned = g.op("Concat", g.op("Neg", high), low, axis=-1)
        return g.op("Add", g.op("Mul", x, rotation[0]), g.op("Mul", turned, rotation[1]))

    def repeat(self, x):
        """Key/value heads to as many as the query has."""
        g, m = self.g, self.m
        if m.heads == m.kv_heads:
            return x
        x = g.op("Expand", g.op("Unsqueeze", x, g.const([2])),
                 g.const([1, 1, m.heads // m.kv_heads, 1, 1]))
        return g.op("Reshape", x, g.const([0, m.heads, -1, m.head_dim]))

    def attention(self, x, i, past, visible, rotation):
        """-> output, key and value with the past before them"""
        g, m = self.g, self.m
        q, k, v = (g.op("Transpose", t, perm=[0, 2, 1, 3]) for t in self.qkv(x, i))
        if rotation:
            q, k = self.rotate(q, rotation), self.rotate(k, rotation)
        if past:
            k = g.op("Concat", past[0], k, axis=2)
            v = g.op("Concat", past[1], v, axis=2)
        q = g.op("Mul", q, self.scalar(1 / math.sqrt(m.head_dim)))
        score = g.op("MatMul", q, g.op("Transpose", self.repeat(k), perm=[0, 1, 3, 2]))
        # a row of padding sees nothing: with -inf it would come out as NaN
        score = g.op("Where", visible, score, self.scalar(LOWEST[self.compute]))
        score = g.op("Softmax", self.cast(score, self.compute, F32), axis=-1)
        y = g.op("MatMul", self.cast(score, F32, self.compute), self.repeat(v))
        y = g.op("Transpose", y, perm=[0, 2, 1, 3])
        return g.op("Reshape", y, g.const([0, 0, m.heads * m.head_dim])), k, v

    # Attention as one node

    def prepare_shared(self, mask):
        """Lengths as the node wants them: the last column of each row, and all columns."""
        g, m = self.g, self.m
        last = g.op("Sub", g.op("ReduceSum", mask, g.const([1]), keepdims=0), g.const(1))
        lengths = [g.op("Cast", last, to=I32),
                   g.op("Cast", self.num_columns(mask, 1), to=I32)]
        caches = []
        if m.inv_freq is not None:
            angle = np.outer(np.arange(m.context, dtype=np.float32), m.inv_freq)
            caches = [g.weight("cos_cache", np.cos(angle), self.compute),
                      g.weight("sin_cache", np.sin(angle), self.compute)]
        return lengths, caches

    def attention_shared(self, x, i, past, lengths, caches, positions):
        g, m = self.g, self.m
        q, k, v = (g.op("Reshape", t, g.const([0, 0, n * m.head_dim]))
                   for t, n in zip(self.qkv(x, i), (m.heads, m.kv_heads, m.kv_heads)))
        if caches and positions:
            q, k = (g.contrib("RotaryEmbedding", t, positions, *caches, interleaved=0)
                    for t in (q, k))
            caches = []
        return g.contrib("GroupQueryAttention", q, k, v, *past, *lengths, *caches, out=3,
                         num_heads=m.heads, kv_num_heads=m.kv_heads,
                         do_rotary=int(bool(caches)), rotary_interleaved=0,
                         scale=1 / math.sqrt(m.head_dim))

    # The whole

    def network(self, ids, mask, positions, past, causal=True):
        """past(i) -> key, value or None; -> logits, [key and value of each layer]"""
        g, m = self.g, self.m
        if self.layout == "shared":
            lengths, caches = self.prepare_shared(mask)
        else:
            first = past(0)
            positions, visible, rotation = self.prepare(ids, mask, positions,
                                                        first and first[0], causal)
        x = self.cast(g.op("Gather", self.store("token_embd.weight"), ids), self.dtype,
                      self.compute)
        if m.arch == "gpt2":
            p = g.op("Gather", self.store("position_embd.weight"), positions)
            x = g.op("Add", x, self.cast(p, self.dtype, self.compute))
        kvs = []
        for i in range(m.layers):
            h = self.named_norm(x, "attn_norm", i)
            if self.layout == "shared":
                y, k, v = self.attention_shared(h, i, past(i), lengths, caches, positions)
            else:
                y, k, v = self.attention(h, i, past(i), visible, rotation)
            kvs.append((k, v))
            x = g.op("Add", x, self.layer_linear(y, i, "attn_output"))
            x = g.op("Add", x, self.ffn(self.named_norm(x, "ffn_norm", i), i))
        x = self.named_norm(x, "output_norm")
        head = "token_embd" if m.get("output.weight") is None else "output"
        logits = self.linear(x, head, m.get(head + ".weight"))
        return self.cast(logits, self.compute, self.dtype), kvs

    def store(self, name):
        if name not in self.weights:
            self.weights[name] = self.g.weight(name, self.m.get(name), self.dtype)
        return name

    def past_names(self):
        if self.layout == "packed":
            return [("past_%d" % i,) for i in range(self.m.layers)]
        return [("past_key_values.%d.key" % i, "past_key_values.%d.value" % i)
                for i in range(self.m.layers)]

    def present_names(self):
        if self.layout == "packed":
            return [("present_%d" % i,) for i in range(self.m.layers)]
        return [("present.%d.key" % i, "present.%d.value" % i) for i in range(self.m.layers)]

    def past_shape(self, columns, i, wide=False):
        m = self.m
        dim = m.head_dim * (2 if wide else 1)
        shape = ["batch_size", m.kv_heads, columns, dim]
        return [2] + shape if self.layout == "packed" else shape

    def wide(self, i):
        return self.damage == "head-mismatch" and i == self.m.layers - 1

    def past_type(self):
        return I8 if self.damage == "int8-past" else self.dtype

    def read_past(self, i):
        """-> key, value of the graph's inputs, in the type of the arithmetic"""
        g = self.g
        if self.layout == "none":
            return None
        if self.damage == "missing-past" and i == self.m.layers - 1:
            i -= 1
        names = self.past_names()[i]
        if self.layout == "packed":
            names = [g.op("Gather", names[0], g.const(n), axis=0) for n in (0, 1)]
        if self.wide(i):
            names = [g.op("Slice", n, g.const([0]), g.const([self.m.head_dim]), g.const([3]))
                     for n in names]
        return [self.cast(n, self.past_type(), self.compute) for n in names]

    def write_present(self, i, kv, out):
        """`out`: names of the outputs"""
        g = self.g
        kv = [self.cast(t, self.compute, self.past_type()) for t in kv]
        if self.layout == "packed":
            g.op("Concat", *(g.op("Unsqueeze", t, g.const([0])) for t in kv), axis=0, out=out[0])
        else:
            for t, name in zip(kv, out):
                g.op("Identity", t, out=name)

    def outputs(self):
        """Declares them; -> names"""
        g, m = self.g, self.m
        names = ["hidden_states" if self.damage == "no-logits" else "logits"]
        g.output(names[0], self.dtype, ["batch_size", "sequence_length", m.vocab])
        if self.layout != "none":
            for i, present in enumerate(self.present_names()):
                for name in present:
                    names.append(name)
                    if not (self.damage == "missing-present" and i == m.layers - 1
                            and name == present[-1]):
                        g.output(name, self.past_type(),
                                 self.past_shape("past_sequence_length + sequence_length", i))
        return names

    def build(self):
        g, m = self.g, self.m
        if self.damage == "not-decoder":
            for name in ("a", "b"):
                g.input(name, F32, ["n"])
            g.op("Add", "a", "b", out="sum")
            g.output("sum", F32, ["n"])
            return
        tokens, total = "sequence_length", "past_sequence_length + sequence_length"
        if self.layout == "none":
            total = tokens
        ids = g.input("tokens" if self.damage == "no-ids" else "input_ids", self.integer,
                      ["batch_size", tokens])
        mask = g.input("attention_mask", self.integer, ["batch_size", total])
        positions = None
        if self.position_ids:
            positions = g.input("position_ids", self.integer, ["batch_size", tokens])
        if self.layout != "none":
            for i, names in enumerate(self.past_names()):
                if self.damage != "missing-past" or i < m.layers - 1:
                    for name in names:
                        g.input(name, self.past_type(), self.past_shape("past_sequence_length", i, self.wide(i)))
        names = self.outputs()
        if self.layout == "merged":
            flag = g.input("use_cache_branch", BOOL, [1])
            self.build_merged(ids, mask, positions, flag, names)
            return
        logits, kvs = self.network(ids, mask, positions, self.read_past)
        g.op("Identity", logits, out=names[0])
        if self.layout != "none":
            for i, present in enumerate(self.present_names()):
                self.write_present(i, kvs[i], present)

    def build_merged(self, ids, mask, positions, flag, names):
        """One branch for the prompt, one traced with a past and a single new token: it has no
        causal mask, so it is right for one token only."""
        g = self.g

        def branch(prefix, with_past):
            def build():
                past = self.read_past if with_past else lambda i: None
                logits, kvs = self.network(ids, mask, positions, past, causal=not with_past)
                g.op("Identity", logits, out=prefix + names[0])
                for i, present in enumerate(self.present_names()):
                    self.write_present(i, kvs[i], [prefix + name for name in present])
                return [prefix + name for name in names]
            return build

        with_past = g.branch("with_past", branch("with_past.", True))
        without = g.branch("without_past", branch("without_past.", False))
        g.op("If", flag, out=names, then_branch=with_past, else_branch=without)
