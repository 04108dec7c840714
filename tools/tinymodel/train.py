#!/usr/bin/env python3
"""train.py - makes the built-in model: corpus -> tokenizer -> training -> GGUF.

A Llama-architecture transformer is trained from nothing on the generated
corpus, on one CPU thread, and stored as Q8_0. The same --seed on the same
machine and torch version gives the same file.
"""
import os
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
import argparse
import time
import numpy as np
import torch
import torch.nn.functional as F

import bpe
import corpus
import gguf

SPECIALS = [corpus.EOT, corpus.IM_START, corpus.IM_END]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

VOCAB, DIM, LAYERS, HEADS, KV_HEADS, FFN, CONTEXT = 1024, 128, 5, 4, 2, 256, 1024
HEAD_DIM, EPS, ROPE_BASE = DIM // HEADS, 1e-5, 10000.0
CHUNK = 64


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        lin = lambda i, o: torch.nn.Linear(i, o, bias=False)
        self.attn_norm = torch.nn.Parameter(torch.ones(DIM))
        self.attn_q = lin(DIM, HEADS * HEAD_DIM)
        self.attn_k = lin(DIM, KV_HEADS * HEAD_DIM)
        self.attn_v = lin(DIM, KV_HEADS * HEAD_DIM)
        self.attn_output = lin(HEADS * HEAD_DIM, DIM)
        self.ffn_norm = torch.nn.Parameter(torch.ones(DIM))
        self.ffn_gate, self.ffn_up, self.ffn_down = lin(DIM, FFN), lin(DIM, FFN), lin(FFN, DIM)

    def forward(self, x, cos, sin, mask):
        b, t, _ = x.shape
        h = rms_norm(x, self.attn_norm)
        q = rope(self.attn_q(h).view(b, t, HEADS, HEAD_DIM), cos, sin).transpose(1, 2)
        k = rope(self.attn_k(h).view(b, t, KV_HEADS, HEAD_DIM), cos, sin).transpose(1, 2)
        v = self.attn_v(h).view(b, t, KV_HEADS, HEAD_DIM).transpose(1, 2)
        # Query head i reads key/value head i // group: the group is folded into
        # rows. Queries go in chunks, so that no work is done far above the diagonal.
        group, out = HEADS // KV_HEADS, []
        q = q.reshape(b, KV_HEADS, group, t, HEAD_DIM) * HEAD_DIM ** -0.5
        kt = k.transpose(2, 3)
        for at in range(0, t, CHUNK):
            end = min(at + CHUNK, t)
            n = end - at
            att = q[:, :, :, at:end].reshape(b, KV_HEADS, group * n, HEAD_DIM) @ kt[..., :end]
            att = att.view(b, KV_HEADS, group, n, end)
            att[..., at:] += mask[:n, :n]
            att = torch.softmax(att, -1).view(b, KV_HEADS, group * n, end)
            out.append((att @ v[:, :, :end]).view(b, HEADS, n, HEAD_DIM))
        y = torch.cat(out, 2).transpose(1, 2).reshape(b, t, -1)
        x = x + self.attn_output(y)
        h = rms_norm(x, self.ffn_norm)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.token_embd = torch.nn.Parameter(torch.randn(VOCAB, DIM) * 0.15)
        self.blk = torch.nn.ModuleList(Block() for _ in range(LAYERS))
        self.output_norm = torch.nn.Parameter(torch.ones(DIM))
        for name, p in self.blk.named_parameters():
            if p.ndim == 2:
                scale = 0.3 if "output" in name or "down" in name else 1.0
                torch.nn.init.normal_(p, 0, scale * 0.6 * p.shape[1] ** -0.5)
        # Attention begins by looking at equal tokens and passing them on: queries
        # start as copies of keys, output matrices as values transposed. Carrying
        # names through a story is learned much sooner from there.
        with torch.no_grad():
            for block in self.blk:
                for j in range(HEADS):
                    rows = slice(j * HEAD_DIM, (j + 1) * HEAD_DIM)
                    g = j // (HEADS // KV_HEADS)
                    kv = slice(g * HEAD_DIM, (g + 1) * HEAD_DIM)
                    block.attn_q.weight[rows] = block.attn_k.weight[kv] + 0.3 * block.attn_q.weight[rows]
                    block.attn_output.weight[:, rows] += block.attn_v.weight[kv].T

    def forward(self, ids):
        t = ids.shape[1]
        freq = ROPE_BASE ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
        angle = torch.outer(torch.arange(t).float(), freq)
        cos, sin = angle.cos()[:, None, :], angle.sin()[:, None, :]
        mask = torch.full((CHUNK, CHUNK), float("-inf")).triu(1)
        x = F.embedding(ids, self.token_embd)
        for block in self.blk:
            x = block(x, cos, sin, mask)
        return rms_norm(x, self.output_norm) @ self.token_embd.T


def rms_norm(x, w):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * w


def rope(x, cos, sin):
    """Rotates the adjacent pairs (x[2i], x[2i+1])."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal (Newton-Schulz), for 2-D weights."""

    def __init__(self, params, lr, momentum=0.95, decay=0.02):
        super().__init__(params, dict(lr=lr, momentum=momentum, decay=decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if "m" not in state:
                    state["m"] = torch.zeros_like(p)
                state["m"].mul_(group["momentum"]).add_(p.grad)
                g = p.grad + group["momentum"] * state["m"]
                wide = g.T if g.shape[0] > g.shape[1] else g
                x = wide / (wide.norm() + 1e-7)
                for _ in range(5):
                    s = x @ x.T
                    x = 3.4445 * x + (-4.7750 * s + 2.0315 * s @ s) @ x
                u = x.T if g.shape[0] > g.shape[1] else x
                scale = max(1.0, g.shape[0] / g.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * group["decay"]).add_(u, alpha=-group["lr"] * scale)


# Loss weight by kind of token: words of the user, others, short answers, and
# words that a text names for the second time. The last is raised until the
# model has learned to carry names along, some thousand steps; short answers
# are what is learned last, and count more in the later rounds.
USER, PLAIN, ANSWER, CARRIED = range(4)
WEIGHTS_EARLY = (0.1, 1.0, 2.0, 4.0)
WEIGHTS = (0.1, 1.0, 1.5, 1.2)
WEIGHTS_LATER = (0.1, 1.0, 3.0, 1.2)
EARLY = 1300
ROUND_ONE, ROUND_TWO = 3000, 4500


def encode_corpus(tok, seed, n):
    """-> token stream, kind of each token, positions where documents start"""
    ids, kinds, starts = [], [], []
    eot = tok.ids[corpus.EOT]
    keys = {tok.encode(" " + word)[0] for word in corpus.key_words()}
    for text, kind in corpus.documents(seed, n):
        starts.append(len(ids))
        ids.append(eot)
        kinds.append(PLAIN)
        turns = text.split(corpus.IM_START)[1:] if kind == "chat" else [text]
        seen = set()
        for turn in turns:
            part = tok.encode(corpus.IM_START + turn if kind == "chat" else turn)
            if kind == "chat" and not turn.startswith("assistant"):
                base = USER
            else:
                base = ANSWER if kind == "chat" and len(part) < 60 else PLAIN
            for t in part:
                kinds.append(CARRIED if t in seen and base != USER else base)
                if t in keys:
                    seen.add(t)
            ids += part
    ids.append(eot)
    kinds.append(PLAIN)
    return np.array(ids, np.int16), np.array(kinds, np.int8), np.array(starts)


def batch(rng, data, size, length, weights=WEIGHTS):
    ids, kinds, starts = data
    at = []
    for _ in range(size):
        if rng.random() < 0.7:
            i = starts[rng.integers(len(starts))]
        else:
            i = rng.integers(len(ids))
        at.append(min(i, len(ids) - length - 1))
    x = torch.from_numpy(np.stack([ids[i:i + length + 1] for i in at]).astype(np.int64))
    w = np.array(weights, np.float32)[np.stack([kinds[i + 1:i + length + 1] for i in at])]
    return x, torch.from_numpy(w)


def loss_of(model, x, w):
    logits = model(x[:, :-1])
    ce = F.cross_entropy(logits.reshape(-1, VOCAB), x[:, 1:].reshape(-1), reduction="none")
    return (ce * w.reshape(-1)).sum() / w.sum()


def rate(step, steps):
    """Learning rate: a short rise, a plateau and a linear fall; then two more
    rounds, each of which starts lower and falls from there."""
    if step < ROUND_ONE:
        return min(1.0, (step + 1) / 100, (ROUND_ONE - step) / 800 + 0.01)
    first, last, top = (ROUND_ONE, ROUND_TWO, 0.7) if step < ROUND_TWO else (ROUND_TWO, steps, 0.5)
    return min(0.02 * (step + 1 - first), top * (last - step) / (last - first) + 0.003)


def shape_of(step):
    """Window length and batch size: short windows first; later on, some steps
    see the full context, so that all of it can be used."""
    if step < 1000:
        return 128, 16
    if step % 12 == 0:
        return CONTEXT, 3
    return 256, 8 if step < 2400 else 16


def carried(model, data, tok):
    """Loss on names, animals and the like that the story has named before:
    shows whether the model carries them along."""
    keys = {tok.encode(" " + word)[0] for word in corpus.key_words()}
    ids, _, starts = data
    total = []
    with torch.no_grad():
        for at in starts[:60:3]:
            x = torch.from_numpy(ids[at:at + 257].astype(np.int64))
            ce = F.cross_entropy(model(x[None, :-1])[0], x[1:], reduction="none")
            seen = set()
            for t, c in zip(x[1:].tolist(), ce.tolist()):
                if t in seen:
                    total.append(c)
                elif t in keys:
                    seen.add(t)
    return float(np.mean(total))


def train(args, data, held_out):
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    model = Model()
    matrices = [p for p in model.blk.parameters() if p.ndim == 2]
    others = [model.token_embd, model.output_norm] + [p for p in model.blk.parameters() if p.ndim == 1]
    opts = [(Muon(matrices, lr=0.012), 0.012),
            (torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0), 2e-3)]
    print("parameters:", sum(p.numel() for p in model.parameters()), flush=True)
    start, ema = time.time(), None
    first = 0
    if args.resume:
        saved = torch.load(args.resume)
        first = saved["step"]
        model.load_state_dict(saved["model"])
        for (opt, _), s in zip(opts, saved["opts"]):
            opt.load_state_dict(s)
        rng.bit_generator.state = saved["rng"]
    for step in range(first, args.steps):
        length, size = shape_of(step)
        lr = rate(step, args.steps)
        for opt, base in opts:
            for g in opt.param_groups:
                g["lr"] = base * lr
        weights = WEIGHTS_EARLY if step < EARLY else WEIGHTS if step < ROUND_ONE else WEIGHTS_LATER
        x, w = batch(rng, data, size, length, weights)
        loss = loss_of(model, x, w)
        for opt, _ in opts:
            opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for opt, _ in opts:
            opt.step()
        ema = loss.item() if ema is None else 0.98 * ema + 0.02 * loss.item()
        if step % 100 == 0 or step == args.steps - 1:
            print("step %5d  loss %.4f  carried words %.3f  %.0f s"
                  % (step, ema, carried(model, held_out, args.tok), time.time() - start), flush=True)
        if args.checkpoint and step % 100 == 99:
            torch.save({"step": step + 1, "model": model.state_dict(), "opts": [o.state_dict() for o, _ in opts],
                        "rng": rng.bit_generator.state, "merges": args.tok.merges}, args.checkpoint)
            save(args.out, model, args.tok)
    with torch.no_grad():
        erng = np.random.default_rng(0)
        val = np.mean([loss_of(model, *batch(erng, held_out, 8, 512)).item() for _ in range(12)])
    print("final training loss %.4f, held-out loss %.4f (nats per token), %.0f s" % (ema, val, time.time() - start))
    return model


def save(path, model, tok):
    u32, f32, string = gguf.U32, gguf.F32, gguf.STR
    ids = tok.ids
    meta = [
        ("general.architecture", string, "llama"),
        ("general.name", string, "nanovllm tiny"),
        ("general.description", string, "A tiny story and small-talk model, trained on generated text; ships with nanovllm."),
        ("general.license", string, "MIT"),
        ("general.file_type", u32, 7),
        ("general.quantization_version", u32, 2),
        ("general.alignment", u32, gguf.ALIGN),
        ("llama.vocab_size", u32, VOCAB),
        ("llama.context_length", u32, CONTEXT),
        ("llama.embedding_length", u32, DIM),
        ("llama.block_count", u32, LAYERS),
        ("llama.feed_forward_length", u32, FFN),
        ("llama.attention.head_count", u32, HEADS),
        ("llama.attention.head_count_kv", u32, KV_HEADS),
        ("llama.attention.layer_norm_rms_epsilon", f32, EPS),
        ("llama.rope.freq_base", f32, ROPE_BASE),
        ("llama.rope.dimension_count", u32, HEAD_DIM),
        ("tokenizer.ggml.model", string, "gpt2"),
        ("tokenizer.ggml.pre", string, "gpt-2"),
        ("tokenizer.ggml.tokens", (gguf.ARR, string), tok.tokens),
        ("tokenizer.ggml.token_type", (gguf.ARR, gguf.I32), [3 if t in SPECIALS else 1 for t in tok.tokens]),
        ("tokenizer.ggml.merges", (gguf.ARR, string), ["%s %s" % tuple(m) for m in tok.merges]),
        ("tokenizer.ggml.bos_token_id", u32, ids[corpus.EOT]),
        ("tokenizer.ggml.eos_token_id", u32, ids[corpus.EOT]),
        ("tokenizer.ggml.eot_token_id", u32, ids[corpus.IM_END]),
        ("tokenizer.ggml.add_bos_token", gguf.BOOL, True),
        ("tokenizer.ggml.add_eos_token", gguf.BOOL, False),
        ("tokenizer.chat_template", string, CHAT_TEMPLATE),
    ]
    state = {k: v.detach().numpy() for k, v in model.state_dict().items()}
    tensors = [("token_embd.weight", state["token_embd"])]
    for i in range(LAYERS):
        for part in ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"):
            key = "blk.%d.%s" % (i, part)
            tensors.append((key + ".weight", state[key if part.endswith("norm") else key + ".weight"]))
    tensors.append(("output_norm.weight", state["output_norm"]))
    gguf.write(path, meta, tensors)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--out", default="data/tinymodel.gguf")
    ap.add_argument("--docs", type=int, default=60000, help="documents in the corpus")
    ap.add_argument("--steps", type=int, default=5300)
    ap.add_argument("--checkpoint", metavar="FILE", help="keep the state here, every hundred steps")
    ap.add_argument("--resume", metavar="FILE", help="go on from a checkpoint")
    args = ap.parse_args()
    torch.set_num_threads(1)

    t = time.time()
    if args.resume:
        merges = torch.load(args.resume)["merges"]
    else:
        texts = [part for d, _ in corpus.documents(args.seed + 1000, 12000)
                 for part in d.replace(corpus.IM_START, corpus.IM_END).split(corpus.IM_END)]
        texts += [(" " + word) * 3000 for word in corpus.key_words()]
        merges = bpe.train(texts, VOCAB - 256 - len(SPECIALS))
    tok = args.tok = bpe.Tokenizer.from_merges(merges, SPECIALS)
    data = encode_corpus(tok, args.seed, args.docs)
    held_out = encode_corpus(tok, args.seed + 2000, 1000)
    print("corpus: %d documents, %d tokens, %.0f s" % (args.docs, len(data[0]), time.time() - t), flush=True)
    model = train(args, data, held_out)
    save(args.out, model, tok)
    print("%s: %d bytes" % (args.out, os.path.getsize(args.out)))


if __name__ == "__main__":
    main()
