#!/usr/bin/env python3
"""sample.py - reads a GGUF file back and generates text with plain numpy.

Independent of torch and of the C program: what it says comes from the file
alone (Q8_0 weights, dequantised). With --golden it writes the golden test.
"""
import argparse
import json
import numpy as np

import bpe
import gguf


class Model:
    def __init__(self, path, dtype=np.float32):
        meta, tensors = gguf.read(path)
        self.meta, self.dtype = meta, dtype
        self.w = {k: v.astype(dtype) for k, v in tensors.items()}
        self.layers = meta["llama.block_count"]
        self.heads, self.kv = meta["llama.attention.head_count"], meta["llama.attention.head_count_kv"]
        self.dim = meta["llama.embedding_length"]
        self.hd = self.dim // self.heads
        self.eps, self.base = meta["llama.attention.layer_norm_rms_epsilon"], meta["llama.rope.freq_base"]
        tokens = meta["tokenizer.ggml.tokens"]
        specials = [t for t, k in zip(tokens, meta["tokenizer.ggml.token_type"]) if k == 3]
        self.tok = bpe.Tokenizer(tokens, [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]], specials)
        self.bos = meta["tokenizer.ggml.bos_token_id"]
        self.stops = {meta["tokenizer.ggml.eos_token_id"], meta["tokenizer.ggml.eot_token_id"]}
        self.reset()

    def reset(self):
        self.k = [[] for _ in range(self.layers)]
        self.v = [[] for _ in range(self.layers)]

    def norm(self, x, w):
        return x / np.sqrt((x * x).mean() + self.dtype(self.eps)) * w

    def rope(self, x, pos):
        angle = pos * self.base ** (-np.arange(0, self.hd, 2, dtype=np.float64) / self.hd)
        c, s = np.cos(angle).astype(self.dtype), np.sin(angle).astype(self.dtype)
        out = np.empty_like(x)
        out[:, 0::2] = x[:, 0::2] * c - x[:, 1::2] * s
        out[:, 1::2] = x[:, 0::2] * s + x[:, 1::2] * c
        return out

    def step(self, token):
        """Feeds one token, returns the logits for the next one."""
        w, pos = self.w, len(self.k[0])
        x = w["token_embd.weight"][token]
        for i in range(self.layers):
            p = lambda n: w["blk.%d.%s.weight" % (i, n)]
            h = self.norm(x, p("attn_norm"))
            q = self.rope((p("attn_q") @ h).reshape(self.heads, self.hd), pos)
            self.k[i].append(self.rope((p("attn_k") @ h).reshape(self.kv, self.hd), pos))
            self.v[i].append((p("attn_v") @ h).reshape(self.kv, self.hd))
            k, v = np.stack(self.k[i]), np.stack(self.v[i])
            out = []
            for j in range(self.heads):
                g = j // (self.heads // self.kv)
                s = k[:, g] @ q[j] / self.dtype(self.hd ** 0.5)
                s = np.exp(s - s.max())
                out.append((s / s.sum()) @ v[:, g])
            x = x + p("attn_output") @ np.concatenate(out)
            h = self.norm(x, p("ffn_norm"))
            a = p("ffn_gate") @ h
            x = x + p("ffn_down") @ (a / (1 + np.exp(-a)) * (p("ffn_up") @ h))
        return w["token_embd.weight"] @ self.norm(x, w["output_norm.weight"])

    def prompt_ids(self, text):
        return [self.bos] + self.tok.encode(text)

    def generate(self, text, n, temp=0.0, rng=None):
        self.reset()
        for t in self.prompt_ids(text):
            logits = self.step(t)
        out = []
        for _ in range(n):
            if temp <= 0:
                t = int(logits.argmax())
            else:
                p = np.exp((logits - logits.max()).astype(np.float64) / temp)
                t = int(rng.choice(len(p), p=p / p.sum()))
            if t in self.stops:
                break
            out.append(t)
            logits = self.step(t)
        return self.tok.decode(out)


def chat(*turns, system=None):
    """Wraps alternating user/assistant texts in ChatML, open for a reply."""
    text = "<|im_start|>system\n%s<|im_end|>\n" % system if system else ""
    for i, turn in enumerate(turns):
        text += "<|im_start|>%s\n%s<|im_end|>\n" % (("user", "assistant")[i % 2], turn)
    return text + "<|im_start|>assistant\n"


def golden(path, out):
    model = Model(path, np.float64)
    cases = []
    # Prompts whose greedy path has no near-ties.
    for text in ("Once upon a time", chat("Tell me a story about a rabbit."),
                 "There was once a shy boy named Ben. Ben had an old drum."):
        ids = model.prompt_ids(text)
        model.reset()
        for t in ids:
            logits = model.step(t)
        first, path_ids, margins = logits, [], []
        for _ in range(48):
            top = np.sort(logits)[-2:]
            margins.append(float("%.4g" % (top[1] - top[0])))
            path_ids.append(int(logits.argmax()))
            logits = model.step(path_ids[-1])
        cases.append({"prompt": text, "prompt_ids": ids, "greedy_ids": path_ids, "greedy_text": model.tok.decode(path_ids),
                      "min_top1_margin": min(margins), "margins": margins, "logits": [float("%.6g" % v) for v in first]})
    note = ("numpy float64 forward pass over the dequantised Q8_0 weights (activations not quantised); greedy_ids run on past "
            "end tokens; logits are those after the last prompt token")
    with open(out, "w") as f:
        json.dump({"note": note, "cases": cases}, f, separators=(",", ":"))
        f.write("\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("-m", "--model", default="data/tinymodel.gguf")
    ap.add_argument("-p", "--prompt", help="a text to go on with")
    ap.add_argument("-c", "--chat", nargs="+", help="user, assistant, user ... texts")
    ap.add_argument("-s", "--system")
    ap.add_argument("-n", type=int, default=400)
    ap.add_argument("-t", "--temp", type=float, default=0.8)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--golden", metavar="FILE", help="write the golden test to FILE")
    args = ap.parse_args()
    if args.golden:
        return golden(args.model, args.golden)
    text = chat(*args.chat, system=args.system) if args.chat else args.prompt or ""
    got = Model(args.model).generate(text, args.n, args.temp, np.random.default_rng(args.seed))
    print(got if args.chat else text + got)


if __name__ == "__main__":
    main()
