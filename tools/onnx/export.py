#!/usr/bin/env python3
"""export.py - writes an ONNX decoder as Optimum or onnxruntime-genai would lay it out."""
import argparse
import json
import os
import sys

sys.dont_write_bytecode = True  # this folder is distributed as it is

import tokenizer
import weights
from decoder import DAMAGES, LAYOUTS, Decoder
from graph import BF16, F16, F32, Graph

TYPES = {"f32": F32, "f16": F16, "bf16": BF16}
FILES = {"concat": "model.onnx", "packed": "past.onnx", "none": "model.onnx",
         "shared": "model.onnx", "merged": "decoder_model_merged.onnx"}
CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM",
           "qwen3": "Qwen3ForCausalLM", "gpt2": "GPT2LMHeadModel"}


def config(m, dtype):
    names = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
    c = {"architectures": [CLASSES[m.arch]], "model_type": m.arch, "vocab_size": m.vocab,
         "bos_token_id": m.bos, "eos_token_id": m.eos, "torch_dtype": names[dtype],
         "tie_word_embeddings": m.get("output.weight") is None}
    if m.arch == "gpt2":
        c.update(n_positions=m.context, n_ctx=m.context, n_embd=m.hidden, n_layer=m.layers,
                 n_head=m.heads, n_inner=m.ffn, layer_norm_epsilon=m.eps,
                 activation_function="gelu_new")
    else:
        c.update(max_position_embeddings=m.context, hidden_size=m.hidden,
                 intermediate_size=m.ffn, num_hidden_layers=m.layers,
                 num_attention_heads=m.heads, num_key_value_heads=m.kv_heads,
                 head_dim=m.head_dim, rms_norm_eps=m.eps, rope_theta=m.theta,
                 hidden_act="silu")
    return c


def ends(m):
    """Where an answer stops: the end of text and, if it is another token, of a turn."""
    return m.eos if m.eot in (None, m.eos) else [m.eos, m.eot]


def genai_config(m, d, file):
    inputs = {"input_ids": "input_ids", "attention_mask": "attention_mask"}
    outputs = {"logits": "logits"}
    if d.position_ids:
        inputs["position_ids"] = "position_ids"
    if d.layout == "packed":
        inputs["past_names"], outputs["present_names"] = "past_%d", "present_%d"
    else:
        inputs["past_key_names"] = "past_key_values.%d.key"
        inputs["past_value_names"] = "past_key_values.%d.value"
        outputs["present_key_names"] = "present.%d.key"
        outputs["present_value_names"] = "present.%d.value"
    return {
        "model": {
            "type": m.arch, "bos_token_id": m.bos, "eos_token_id": ends(m),
            "pad_token_id": m.eos if m.pad is None else m.pad, "vocab_size": m.vocab,
            "context_length": m.context,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": file, "head_size": m.head_dim, "hidden_size": m.hidden,
                "num_attention_heads": m.heads, "num_key_value_heads": m.kv_heads,
                "num_hidden_layers": m.layers, "inputs": inputs, "outputs": outputs}},
        "search": {"do_sample": False, "max_length": m.context, "min_length": 0,
                   "past_present_share_buffer": d.layout == "shared"}}


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f, indent=2, ensure_ascii=False)
        f.write("\n")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("-m", metavar="FILE", help="GGUF file")
    source.add_argument("--synthetic", metavar="SHAPE",
                        help="random weights: %s, or hidden=N,layers=N,heads=N,kv_heads=N,ffn=N,"
                        "vocab=N,context=N[,arch=ARCH]" % ", ".join(weights.SHAPES))
    p.add_argument("--past", choices=LAYOUTS, default="concat")
    p.add_argument("--dtype", choices=TYPES, default="f32")
    p.add_argument("--int4", action="store_true", help="linear layers as MatMulNBits")
    p.add_argument("--accuracy-level", type=int, default=0, metavar="N",
                   help="MatMulNBits' accuracy_level; 4 is integer arithmetic (default 0)")
    p.add_argument("--external", action="store_true", help="weights in a file of their own")
    p.add_argument("--position-ids", action=argparse.BooleanOptionalAction,
                   help="whether the graph has this input (default: yes; shared: only gpt2)")
    p.add_argument("--damage", choices=DAMAGES, help="spoil the graph, for tests of errors")
    p.add_argument("-o", metavar="DIR", required=True)
    a = p.parse_args()
    m = weights.load(a.m) if a.m else weights.synthetic(a.synthetic)
    positions = a.position_ids
    if positions is None:
        positions = a.past != "shared" or m.arch == "gpt2"
    elif not positions and a.past == "shared" and m.arch == "gpt2":
        p.error("gpt2 needs --position-ids in this layout")
    if a.past == "shared" and m.inv_freq is not None and m.head_dim % 16:
        p.error("GroupQueryAttention rotates only heads of a multiple of 16, not %d" % m.head_dim)
    os.makedirs(a.o, exist_ok=True)
    file = FILES[a.past]
    g = Graph(os.path.join(a.o, file + "_data") if a.external else None)
    d = Decoder(g, m, a.past, TYPES[a.dtype], a.int4, a.accuracy_level, positions, a.damage)
    d.build()
    g.save(os.path.join(a.o, file), m.arch)
    write_json(a.o, "config.json", config(m, a.dtype))
    write_json(a.o, "generation_config.json", {"bos_token_id": m.bos, "eos_token_id": ends(m)})
    for name, value in tokenizer.files(m.meta).items():
        write_json(a.o, name, value)
    if a.past in ("shared", "packed"):
        write_json(a.o, "genai_config.json", genai_config(m, d, file))


if __name__ == "__main__":
    main()
