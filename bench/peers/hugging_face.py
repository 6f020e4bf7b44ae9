"""One work by transformers, measured on demand: a line on stdin asks for a measurement, a line of JSON on stdout answers.

The models have random weights: cost does not depend on them. compare.py starts this: WORK MODE SECONDS DEVICE.
"""

import json
import os
import sys
import time

import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM, LlamaConfig, LlamaForCausalLM

NANO = dict(num_hidden_layers=4, hidden_size=96, num_attention_heads=4, num_key_value_heads=4, intermediate_size=256, vocab_size=394)
MID = dict(num_hidden_layers=4, hidden_size=256, num_attention_heads=4, num_key_value_heads=4, intermediate_size=688, vocab_size=4096)
SMOLLM2 = dict(num_hidden_layers=30, hidden_size=576, num_attention_heads=9, num_key_value_heads=3, intermediate_size=1536,
               vocab_size=49152, tie_word_embeddings=True)  # fmt: skip
STORIES = dict(num_layers=8, hidden_size=512, num_heads=16, intermediate_size=2048, vocab_size=50257, window_size=256,
               attention_types=[[["global", "local"], 4]], max_position_embeddings=2048)  # fmt: skip

# The names, shapes and batches of `assay bench`: training (model, sequences, length), sampling (model, rows, new tokens).
TRAINING = {"train-nano": (NANO, 48, 96), "train-mid": (MID, 16, 256), "train-stories": (STORIES, 4, 256),
            "train-smollm2": (SMOLLM2, 4, 128), "train-smollm2-b16": (SMOLLM2, 16, 512)}  # fmt: skip
SAMPLING = {"generate-smollm2-b1": (SMOLLM2, 1, 100), "generate-smollm2-b16": (SMOLLM2, 16, 100),
            "generate-smollm2-b64": (SMOLLM2, 64, 100), "generate-nano-b64": (NANO, 64, 40)}  # fmt: skip
PROMPT = 40
DEVICE = sys.argv[4] if len(sys.argv) > 4 else "cpu"
KIND = DEVICE.split(":")[0]


def build(shape, dtype):
    if shape is STORIES:  # transformers has no fused attention for GPT-Neo
        config, kind = GPTNeoConfig(**shape, resid_dropout=0.0, embed_dropout=0.0, attention_dropout=0.0), GPTNeoForCausalLM
    else:
        config, kind = LlamaConfig(**{"tie_word_embeddings": False, "max_position_embeddings": 2048, **shape}), LlamaForCausalLM
        config._attn_implementation = "sdpa"
    config.bos_token_id = config.eos_token_id = config.pad_token_id = None
    torch.manual_seed(0)
    return kind(config).to(DEVICE, dtype)


def training(name, modes):
    """Forward, loss, backward and fused AdamW; no clipping, no data loading: the step that `assay bench` runs."""
    shape, sequences, length = TRAINING[name]
    model = build(shape, torch.bfloat16 if "weights" in modes else torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    forward = torch.compile(model) if "compiled" in modes else model
    ids = torch.randint(0, shape["vocab_size"], (sequences, length)).to(DEVICE)

    def step():
        with torch.autocast(KIND, torch.bfloat16, enabled="autocast" in modes):
            loss = forward(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if KIND == "cuda":
            loss.item()  # as a training loop that looks at its loss: waits for the device

    return step, sequences * length


class Split(torch.nn.Module):
    """The split autoencoder of MNIST as plain PyTorch: one decoder pass over m*z + (1-m)*z.detach()."""

    def __init__(self):
        super().__init__()
        relu, linear = torch.nn.ReLU, torch.nn.Linear
        self.encoder = torch.nn.Sequential(linear(784, 2048), relu(), linear(2048, 512), relu(), linear(512, 32, bias=False))
        self.decoder, self.bottom, self.top = (
            torch.nn.Sequential(linear(d, 512), relu(), linear(512, 2048), relu(), linear(2048, 784)) for d in (32, 16, 16)
        )

    def forward(self, x, mask, weight):
        z = self.encoder(x)
        routed = mask * z + (1 - mask) * z.detach()
        loss = ((self.decoder(routed) - x).abs().mean(1) * weight).sum()
        loss = loss + (self.bottom(z[:, :16].detach()) - x).abs().mean() + (self.top(z[:, 16:].detach()) - x).abs().mean()
        z = z.float()
        normal = (z - z.mean(0)) / z.std(0)
        correlation = (normal[:, :16].T @ normal[:, 16:] / len(x)).abs().mean()
        return loss + 3e-3 * z.abs().mean(0).sum() + 0.1 * correlation


def split(modes):
    """The step of `assay bench train-split`: losses, gradients, fused Adam."""
    torch.manual_seed(0)
    model, n = Split(), 2048
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=5e-5, fused=True)
    x = torch.where(torch.rand(n, 784) < 0.8, -1.0, 2 * torch.rand(n, 784) - 1)
    shown = torch.rand(n, 1) < 0.5
    bottom = torch.arange(32) < 16
    mask = torch.where(shown, bottom.float(), (~bottom).float())
    weight = torch.where(shown[:, 0], 1 / shown.sum(), 1 / (~shown).sum())

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in modes):
            loss = model(x, mask, weight)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step, n


def sampling(name, modes):
    """Sampling at temperature 1 without top-k and top-p, random prompts of 40 tokens; the prompts' run is part of the work."""
    shape, rows, new = SAMPLING[name]
    model = build(shape, torch.bfloat16 if "bf16" in modes else torch.float32).eval()
    ids = torch.randint(0, shape["vocab_size"], (rows, PROMPT)).to(DEVICE)
    options = dict(attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=new)

    @torch.inference_mode()
    def call():
        if model.generate(ids, **options).shape != (rows, PROMPT + new):
            raise RuntimeError("generate did not return the number of tokens asked for")

    return call, rows * new


def main():
    name, modes, seconds = sys.argv[1], sys.argv[2].split(), float(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the libraries print must not stand between the answers
    torch.set_num_threads(1)
    call, amount = split(modes) if name == "train-split" else (training if name in TRAINING else sampling)(name, modes)
    # A step's memory and the optimiser's state exist from the second step on, all that is compiled from the third.
    for _ in range(1 + name.startswith("train") + ("compiled" in modes)):
        start = time.process_time()
        call()
    calls = max(1, int(seconds / max(1e-6, time.process_time() - start)))
    print(json.dumps({"ready": True}), file=answers)
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(calls):
            call()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(json.dumps({"per_cpu_s": amount * calls / cpu, "per_wall_s": amount * calls / wall}), file=answers)


if __name__ == "__main__":
    main()
