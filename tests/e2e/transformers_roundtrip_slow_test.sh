#!/usr/bin/env bash
# transformers loads what assay saves, with the same logits, tokens and templates, and the other way round. $1: the binary.
# Needs a Python with transformers, torch and numpy: ASSAY_PYTHON, else the environment that bench/peers/run.sh has made; skipped (77) without.
set -euo pipefail
assay=$1
if [ -z "${ASSAY_PYTHON:-}" ]; then
  for python in "${XDG_CACHE_HOME:-$HOME/.cache}"/assay/peers/*/bin/python; do [ ! -x "$python" ] || ASSAY_PYTHON=$python; done
fi
if [ -z "${ASSAY_PYTHON:-}" ] || ! "$ASSAY_PYTHON" -c 'import transformers, torch' 2>/dev/null; then
  echo "skipped: there is no Python with transformers (ASSAY_PYTHON, or bench/peers/run.sh once)"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Models of several shapes, saved by transformers.
"$ASSAY_PYTHON" - "$work" <<'PYTHON'
import sys, torch
from tokenizers import Tokenizer, models, pre_tokenizers, decoders, processors
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoConfig, LlamaConfig, PreTrainedTokenizerFast
work = sys.argv[1]
vocab = {w: i for i, w in enumerate(["<pad>", "<s>", "</s>", "<unk>"] + [f"w{i}" for i in range(96)])}
inner = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
inner.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
base = dict(vocab_size=100, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=128,
            bos_token_id=1, eos_token_id=2, pad_token_id=0)
cases = {
    "gqa": dict(head_dim=8),
    "tied-llama3": dict(tie_word_embeddings=True, rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                                     original_max_position_embeddings=32)),
    "linear": dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0)),
    "biases": dict(attention_bias=True, mlp_bias=True),
    "eos-list": dict(eos_token_id=[2, 3]),
    "bf16": {},
    "shards": {},
}
ids = dict(vocab_size=100, bos_token_id=1, eos_token_id=2, pad_token_id=0)
gpt2 = dict(n_embd=48, n_layer=2, n_head=4, n_positions=64, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **ids)
neo = dict(hidden_size=48, num_heads=4, max_position_embeddings=64, resid_dropout=0.0, embed_dropout=0.0, attention_dropout=0.0, **ids)
configs = {name: LlamaConfig(**{**base, **more}) for name, more in cases.items()} | {
    "gpt2": GPT2Config(**gpt2),
    "gpt2-untied": GPT2Config(**gpt2, n_inner=100, activation_function="relu", tie_word_embeddings=False, scale_attn_weights=False),
    "neo": GPTNeoConfig(**neo, num_layers=2, attention_types=[[["global", "local"], 1]], window_size=3),
    "neo-mixed": GPTNeoConfig(**neo, num_layers=3, attention_types=[[["local"], 2], [["global"], 1]], window_size=4, intermediate_size=70,
                              activation_function="gelu", tie_word_embeddings=False),
}
for name, config in configs.items():
    torch.manual_seed(len(name))
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(1.0 if p.dim() == 1 else 0.0, 0.2)
    if name == "bf16":
        model = model.to(torch.bfloat16)
    model.save_pretrained(f"{work}/theirs-{name}", **({"max_shard_size": "40KB"} if name == "shards" else {}))
    tokenizer.save_pretrained(f"{work}/theirs-{name}")
PYTHON

forward=false
if "$assay" --help | grep -q '^  forward'; then forward=true; fi
for theirs in "$work"/theirs-*; do
  name=${theirs##*/theirs-}
  dtype=f32
  if [ "$name" = bf16 ]; then dtype=bf16; fi
  "$assay" --quiet model convert "$theirs" "$work/ours-$name" --dtype $dtype > /dev/null
  if $forward; then "$assay" --quiet --dtype f32 forward "$theirs" --ids 1,7,45,99,4,4,31 --out "$work/logits-$name.safetensors" > /dev/null; fi
done

"$ASSAY_PYTHON" - "$work" <<'PYTHON'
import glob, os, sys, torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
work, failures = sys.argv[1], 0
def check(good, what):
    global failures
    if not good:
        failures += 1
        print("FAILED:", what)
for theirs in sorted(glob.glob(f"{work}/theirs-*")):
    name = theirs.split("/theirs-")[1]
    ours = f"{work}/ours-{name}"
    a, b = AutoModelForCausalLM.from_pretrained(theirs), AutoModelForCausalLM.from_pretrained(ours)
    check(a.dtype == b.dtype, f"{name}: dtype {a.dtype} became {b.dtype}")
    check(a.num_parameters() == b.num_parameters(), f"{name}: number of parameters")
    ids = torch.tensor([[1, 7, 45, 99, 4, 4, 31]])
    with torch.no_grad():
        x, y = a(ids).logits, b(ids).logits
    check(torch.equal(x, y), f"{name}: logits differ by {(x - y).abs().max().item()}")
    check(a.generation_config.eos_token_id == b.generation_config.eos_token_id, f"{name}: eos of the generation config")
    check(torch.equal(a.generate(ids, max_new_tokens=12, do_sample=False), b.generate(ids, max_new_tokens=12, do_sample=False)), f"{name}: greedy generation")
    s, t = AutoTokenizer.from_pretrained(theirs), AutoTokenizer.from_pretrained(ours)
    text = "w1 w95 nowhere w7 </s> w2"
    check(s(text)["input_ids"] == t(text)["input_ids"], f"{name}: token ids")
    check(s.decode(s(text)["input_ids"]) == t.decode(t(text)["input_ids"]), f"{name}: decoded text")
    for token in ["bos_token", "eos_token", "pad_token"]:
        check(getattr(s, token) == getattr(t, token), f"{name}: {token} {getattr(s, token)!r} became {getattr(t, token)!r}")
    chat = [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]
    check(s.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == t.apply_chat_template(chat, tokenize=False, add_generation_prompt=True), f"{name}: template")
    mine = f"{work}/logits-{name}.safetensors"
    if os.path.exists(mine):
        z = load_file(mine)["logits"].reshape(ids.shape[1], -1)
        with torch.no_grad():
            wanted = a.float()(ids).logits[0]
        check((z - wanted).abs().max().item() < 2e-4, f"{name}: assay forward differs by {(z - wanted).abs().max().item()}")
    print(name, "compared")
sys.exit(1 if failures else 0)
PYTHON
