#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <memory>

#include "assay/base/stats.h"
#include "assay/cli/command.h"
#include "assay/model/checkpoint.h"
#include "assay/tensor/safetensors.h"

namespace assay::cli {
namespace {

struct ForwardArguments {
  std::string model, text, batch, out, ids;
  std::vector<std::string> capture;
};

/// input_ids [B, T] and, where it is there, attention_mask [B, T] (0 = left out), as transformers has them.
TokenBatch read_batch(const fs::path& path) {
  const SafetensorsFile file(path);
  if (!file.has("input_ids")) throw Error("forward", path.string() + " holds no tensor 'input_ids'");
  const Tensor ids = file.tensor("input_ids").to(at::kLong).contiguous();
  const Tensor mask = file.has("attention_mask") ? file.tensor("attention_mask").to(at::kLong).contiguous() : at::ones_like(ids);
  if (ids.dim() != 2 || mask.sizes() != ids.sizes())
    throw Error("forward", path.string() + ": input_ids and attention_mask must have the same shape [B, T]");
  TokenBatch batch;
  const std::int64_t *id = ids.data_ptr<std::int64_t>(), *keep = mask.data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < ids.size(0); ++row) {
    std::vector<std::int32_t> sequence;
    for (std::int64_t t = 0; t < ids.size(1); ++t, ++id, ++keep) {
      if (*keep == 0) continue;
      if (*id < 0 || *id > INT32_MAX) throw Error("forward", fmt::format("{}: input_ids holds {}", path.string(), *id));
      sequence.push_back(static_cast<std::int32_t>(*id));
    }
    if (sequence.empty()) throw Error("forward", fmt::format("{}: row {} has no tokens", path.string(), row));
    batch.add(sequence);
  }
  return batch;
}

std::vector<TokenId> ids_of(const std::string& text) {
  std::vector<TokenId> ids;
  for (const char *at = text.data(), *end = at + text.size();; ++at) {
    TokenId id = 0;
    const auto [stopped, error] = std::from_chars(at, end, id);
    if (error != std::errc{} || (stopped != end && *stopped != ','))
      throw UsageError("forward", "--ids is '" + text + "', expected numbers with commas between them, as in 1,2,3");
    ids.push_back(id);
    if (stopped == end) return ids;
    at = stopped;
  }
}

TokenBatch batch_of(const ForwardArguments& options, const LanguageModel* model) {
  if (!options.batch.empty()) return read_batch(options.batch);
  const std::vector<TokenId> ids = options.text.empty() ? ids_of(options.ids) : model->tokenizer.encode(options.text);
  if (ids.empty()) throw UsageError("forward", "there are no tokens");
  TokenBatch batch;
  batch.add(ids);
  return batch;
}

/// Mean cross entropy of every next token; nullopt where no sequence has two tokens.
std::optional<double> loss_of(const TokenBatch& batch, const Tensor& logprobs) {
  double sum = 0;
  std::int64_t n = 0;
  for (std::int64_t s = 0; s < batch.n_sequences(); ++s) {
    for (auto t = batch.offsets[static_cast<std::size_t>(s)]; t + 1 < batch.offsets[static_cast<std::size_t>(s) + 1]; ++t, ++n) {
      sum -= logprobs[t][batch.ids[static_cast<std::size_t>(t) + 1]].item<double>();
    }
  }
  return n > 0 ? std::optional(sum / static_cast<double>(n)) : std::nullopt;
}

void run_forward(const ForwardArguments& options, const Context& context) {
  if ((options.ids.empty() ? 0 : 1) + (options.text.empty() ? 0 : 1) + (options.batch.empty() ? 0 : 1) != 1) {
    throw UsageError("forward", "exactly one of --ids, --text and --batch is needed");
  }
  const c10::Device device = context.start_on_device();
  const c10::InferenceMode no_gradients;
  // Ids need no tokenizer.
  std::optional<LanguageModel> language_model;
  if (!options.text.empty()) language_model = load_language_model(options.model);
  Transformer model = language_model ? language_model->transformer : load_transformer(options.model);
  model.to(device);
  const TokenBatch batch = batch_of(options, language_model ? &*language_model : nullptr);
  const Precision precision = context.precision();
  Hooks hooks;
  for (const std::string& place : options.capture) hooks.read(place);
  const Tensor hidden = model.forward(batch, {precision, options.capture.empty() ? nullptr : &hooks});
  const Tensor logits = model.logits(hidden, precision).cpu();
  const Tensor logprobs = logits.log_softmax(1);
  const std::optional<double> loss = loss_of(batch, logprobs);

  const auto last = batch.n_tokens() - 1, shown = std::min<std::int64_t>(10, model.config.d_vocab);
  const auto [values, indices] = logprobs[last].topk(shown);
  Json top = Json::array();
  std::string text = loss ? fmt::format("loss {:.4f}\n", *loss) : std::string();
  for (std::int64_t i = 0; i < shown; ++i) {
    const auto id = static_cast<TokenId>(indices[i].item<std::int64_t>());
    Json entry{{"id", id}, {"logprob", values[i].item<double>()}};
    if (language_model && id < language_model->tokenizer.vocabulary_size())
      entry["token"] = language_model->tokenizer.decode(std::span(&id, 1));
    text +=
        fmt::format("{:>8}  {:>9.4f}  {}\n", id, values[i].item<double>(), entry.contains("token") ? dump(entry["token"]) : std::string());
    top.push_back(std::move(entry));
  }
  if (!options.out.empty()) {
    NamedTensors tensors{
        {"logits", logits}, {"input_ids", at::tensor(batch.ids, at::kInt)}, {"offsets", at::tensor(batch.offsets, at::kLong)}};
    for (const std::string& place : options.capture) tensors[place] = hooks.captured(place);
    save_safetensors(options.out, tensors);
    text += "wrote " + options.out + "\n";
  }
  context.print(Json{{"loss", loss ? number(*loss) : Json("none")}, {"top", top}, {"tokens", batch.n_tokens()}}, text);
}

}  // namespace

void add_forward(CLI::App& app, Context& context) {
  auto options = std::make_shared<ForwardArguments>();
  CLI::App* command = app.add_subcommand("forward", "One forward pass: loss, likeliest next tokens, activations");
  command->add_option("MODEL", options->model, "A Hugging Face folder or a .gguf file")->required();
  command->add_option("--ids", options->ids, "Token ids, for instance 1,2,3");
  command->add_option("--text", options->text, "Text");
  command->add_option("--batch", options->batch, "A safetensors file with input_ids [B, T] and perhaps attention_mask [B, T]");
  command->add_option("--capture", options->capture, "Hook points to keep, for instance blocks.3.hook_resid_post");
  command->add_option("--out", options->out,
                      "A safetensors file for logits and what was captured: [tokens, ...], sequences end to end without padding, "
                      "sequence s at offsets[s] to offsets[s+1]");
  command->footer(
      "Example:\n  assay forward models/smollm2 --text \"The capital of France is\" --capture blocks.3.hook_resid_post --out "
      "acts.safetensors");
  on_run(*command, [options, &context] { run_forward(*options, context); });
}

}  // namespace assay::cli
