#!/usr/bin/env python3
"""Output tokens per second of Hugging Face transformers' generate, on the shape of Qwen3-0.6B with
random BF16 weights, at several batch sizes: what tools/gpu_check.sh compares with. Requests of 100 to
1024 tokens in and out; a batch ends with its longest."""
import random
import sys
import time

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM


def main():
    torch.manual_seed(0)
    random.seed(0)
    config = Qwen3Config(
        vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
        max_position_embeddings=40960)
    with torch.device("cuda"):
        model = Qwen3ForCausalLM(config).to(torch.bfloat16).eval()
    best = 0.0
    for batch in [int(n) for n in sys.argv[1:]] or [64, 256]:
        wanted = [random.randint(100, 1024) for _ in range(batch)]
        lengths = [random.randint(100, 1024) for _ in range(batch)]
        tokens = torch.zeros((batch, max(lengths)), dtype=torch.long, device="cuda")
        mask = torch.zeros_like(tokens)
        for i, length in enumerate(lengths):  # padded on the left
            tokens[i, -length:] = torch.randint(0, 10000, (length,), device="cuda")
            mask[i, -length:] = 1
        torch.cuda.synchronize()
        start = time.time()
        with torch.inference_mode():
            model.generate(tokens, attention_mask=mask, max_new_tokens=max(wanted),
                           min_new_tokens=max(wanted), do_sample=False, pad_token_id=0)
        torch.cuda.synchronize()
        rate = sum(wanted) / (time.time() - start)
        best = max(best, rate)
        print(f"transformers, batch {batch}: {rate:.0f} output tokens/s", flush=True)
    print(f"transformers, best: {best:.0f} output tokens/s")


main()
