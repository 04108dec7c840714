"""weights.py - a decoder's shape and float32 weights, from a GGUF file or made up.

Matrices are [outputs, inputs]. Query and key rows are in the order of
half-split rotation, as Hugging Face models have them.
"""
import math
import os
import sys

import numpy as np

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tinymodel"))
import gguf

ARCHS = ("llama", "qwen2", "qwen3", "gpt2")
SHAPES = {
    "llama-tiny": "hidden=64,layers=2,heads=4,kv_heads=2,ffn=128,vocab=256,context=256",
    "llama-0.1b": "hidden=768,layers=12,heads=12,kv_heads=4,ffn=2048,vocab=16000,context=2048",
}


class Model:
    """arch, hidden, layers, heads, kv_heads, head_dim, ffn, vocab, context, eps;
    inv_freq (rotation per position, or None); bos, eos, pad (or None);
    meta: the GGUF file's metadata; tensors by their GGUF names."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def get(self, name):
        return self.tensors.get(name)

    def layer(self, i, name):
        return self.tensors.get("blk.%d.%s" % (i, name))


def _inv_freq(head_dim, base, factors=None):
    inv = 1.0 / base ** (np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    return (inv / factors if factors is not None else inv).astype(np.float32)


def _halves(x, heads):
    """Rows of each head from pairs side by side to pairs half a head apart."""
    rest = x.shape[1:]
    x = x.reshape((heads, x.shape[0] // heads // 2, 2) + rest)
    return np.ascontiguousarray(x.swapaxes(1, 2)).reshape((-1,) + rest)


def load(path):
    try:
        meta, tensors = gguf.read(path)
    except (OSError, ValueError) as e:
        sys.exit("%s: %s" % (path, e))
    arch = meta["general.architecture"]
    if arch not in ARCHS:
        sys.exit("%s: architecture %s is not exported (%s are)" % (path, arch, ", ".join(ARCHS)))
    if "blk.0.ffn_gate_inp.weight" in tensors:
        sys.exit("%s: experts are not exported" % path)

    def key(name, default=None):
        return meta.get("%s.%s" % (arch, name), default)

    if key("rope.scaling.type", "none") != "none":
        sys.exit("%s: scaled rotation is not exported" % path)
    hidden, heads = key("embedding_length"), key("attention.head_count")
    kv_heads = key("attention.head_count_kv", heads)
    head_dim = key("attention.key_length", hidden // heads)
    if key("rope.dimension_count", head_dim) != head_dim:
        sys.exit("%s: rotation of a part of a head is not exported" % path)
    if arch == "llama":
        for i in range(key("block_count")):
            for name, n in (("q", heads), ("k", kv_heads)):
                for kind in ("weight", "bias"):
                    full = "blk.%d.attn_%s.%s" % (i, name, kind)
                    if full in tensors:
                        tensors[full] = _halves(tensors[full], n)
    return Model(
        arch=arch, hidden=hidden, layers=key("block_count"), heads=heads, kv_heads=kv_heads,
        head_dim=head_dim, ffn=key("feed_forward_length"),
        vocab=tensors["token_embd.weight"].shape[0], context=key("context_length"),
        eps=key("attention.layer_norm_epsilon" if arch == "gpt2"
                else "attention.layer_norm_rms_epsilon"),
        theta=key("rope.freq_base", 10000.0),
        inv_freq=None if arch == "gpt2" else _inv_freq(
            head_dim, key("rope.freq_base", 10000.0), tensors.get("rope_freqs.weight")),
        bos=meta.get("tokenizer.ggml.bos_token_id"), eos=meta.get("tokenizer.ggml.eos_token_id"),
        eot=meta.get("tokenizer.ggml.eot_token_id"),
        pad=meta.get("tokenizer.ggml.padding_token_id"), meta=meta, tensors=tensors)


def synthetic(text):
    """The same random weights for the same shape; logits and activations stay near 1."""
    shape = {"arch": "llama"}
    for part in SHAPES.get(text, text).split(","):
        name, _, value = part.partition("=")
        if name not in ("arch", "hidden", "layers", "heads", "kv_heads", "ffn", "vocab",
                        "context", "head_dim") or not value:
            sys.exit("--synthetic: %s is neither NAME=VALUE nor one of %s"
                     % (part, ", ".join(SHAPES)))
        shape[name] = value if name == "arch" else int(value)
    for name in ("hidden", "layers", "heads", "vocab"):
        if name not in shape:
            sys.exit("--synthetic: %s= is missing" % name)
    arch, hidden, layers, heads = (shape[k] for k in ("arch", "hidden", "layers", "heads"))
    if arch not in ARCHS:
        sys.exit("--synthetic: arch is one of %s" % ", ".join(ARCHS))
    kv_heads = heads if arch == "gpt2" else shape.get("kv_heads", heads)
    head_dim, ffn = shape.get("head_dim", hidden // heads), shape.get("ffn", 4 * hidden)
    if heads % kv_heads or arch != "gpt2" and head_dim % 2:
        sys.exit("--synthetic: heads do not divide by kv_heads, or their size is odd")
    vocab, context = shape["vocab"], shape.get("context", 1024)
    random = np.random.default_rng(1)
    tensors = {}

    def matrix(name, rows, columns, scale=1.0):
        tensors[name + ".weight"] = random.standard_normal((rows, columns), dtype=np.float32)
        tensors[name + ".weight"] *= np.float32(scale / math.sqrt(columns))

    def vector(name, n, around, spread):
        tensors[name] = (around + spread * random.standard_normal(n)).astype(np.float32)

    def norm(name, n):
        vector(name + ".weight", n, 1.0, 0.05)
        if arch == "gpt2":
            vector(name + ".bias", n, 0.0, 0.05)

    def linear(name, rows, columns, scale=1.0, bias=arch == "gpt2"):
        matrix(name, rows, columns, scale)
        if bias:
            vector(name + ".bias", rows, 0.0, 0.1)

    last = 1 / math.sqrt(2 * layers)  # what a layer adds to the residual stream
    q, kv = heads * head_dim, kv_heads * head_dim
    matrix("token_embd", vocab, hidden, math.sqrt(hidden))
    matrix("output", vocab, hidden, 2.0)
    norm("output_norm", hidden)
    if arch == "gpt2":
        matrix("position_embd", context, hidden, math.sqrt(hidden) / 4)
    for i in range(layers):
        blk = "blk.%d." % i
        norm(blk + "attn_norm", hidden)
        norm(blk + "ffn_norm", hidden)
        if arch == "gpt2":
            linear(blk + "attn_qkv", q + 2 * kv, hidden)
        else:
            for name, rows in (("q", q), ("k", kv), ("v", kv)):
                linear(blk + "attn_" + name, rows, hidden, bias=arch == "qwen2")
                if arch == "qwen3" and name != "v":
                    norm(blk + "attn_%s_norm" % name, head_dim)
            linear(blk + "ffn_gate", ffn, hidden)
        linear(blk + "attn_output", hidden, q, last)
        linear(blk + "ffn_up", ffn, hidden)
        linear(blk + "ffn_down", hidden, ffn, last)
    return Model(
        arch=arch, hidden=hidden, layers=layers, heads=heads, kv_heads=kv_heads,
        head_dim=head_dim, ffn=ffn, vocab=vocab, context=context, eps=1e-5, theta=10000.0,
        inv_freq=None if arch == "gpt2" else _inv_freq(head_dim, 10000.0),
        bos=1, eos=2, eot=None, pad=None, meta={}, tensors=tensors)
