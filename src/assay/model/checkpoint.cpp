#include "assay/model/checkpoint.h"

#include <algorithm>
#include <set>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/model/gguf_model.h"
#include "assay/model/stored_weights.h"
#include "assay/tensor/gguf.h"
#include "assay/tensor/runtime.h"
#include "assay/tensor/safetensors.h"

namespace assay {
namespace {

void require_folder(const fs::path& path) {
  if (!fs::exists(path))
    throw Error("model load", path.string() + " does not exist", "MODEL is a Hugging Face folder, a stage of an organism or a .gguf file");
  if (!fs::is_directory(path))
    throw Error("model load", path.string() + " is neither a folder nor a .gguf file",
                "MODEL is a Hugging Face folder, a stage of an organism or a .gguf file");
  if (!fs::exists(path / "config.json"))
    throw Error("model load", path.string() + " lacks config.json",
                "MODEL is a Hugging Face folder, a stage of an organism or a .gguf file");
}

bool is_gguf(const fs::path& path) { return path.extension() == ".gguf" && !fs::is_directory(path); }

/// What transformers needs to build the same tokenizer: the special tokens by name and the template.
Json tokenizer_config(const LanguageModel& model) {
  const ModelConfig& config = model.transformer.config;
  SpecialTokens special = model.chat_template ? model.chat_template->special() : SpecialTokens{};
  const auto fill = [&](std::string& token, const std::optional<std::int64_t>& id) {
    if (token.empty() && id && *id >= 0 && *id < model.tokenizer.vocabulary_size())
      token = model.tokenizer.token_of(static_cast<TokenId>(*id));
  };
  fill(special.bos, config.bos_id);
  fill(special.eos, config.eos_ids.empty() ? std::nullopt : std::optional(config.eos_ids[0]));
  fill(special.pad, config.pad_id);
  Json out = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"model_max_length", config.n_ctx}, {"clean_up_tokenization_spaces", false}};
  for (const auto& [key, token] :
       {std::pair("bos_token", special.bos), {"eos_token", special.eos}, {"pad_token", special.pad}, {"unk_token", special.unk}})
    if (!token.empty()) out[key] = token;
  if (model.chat_template) out["chat_template"] = model.chat_template->source();
  return out;
}

Json generation_config(const LanguageModel& model) {
  Json out = model.generation_config.is_object() ? model.generation_config : Json::object();
  const Json config = config_to_hf(model.transformer.config);
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"})
    if (!out.contains(key) && config.contains(key) && !config[key].is_null()) out[key] = config[key];
  return out;
}

}  // namespace

std::vector<TokenId> LanguageModel::stop_ids() const {
  std::vector<TokenId> out;
  const auto add = [&](std::int64_t id) {
    if (std::find(out.begin(), out.end(), id) == out.end()) out.push_back(static_cast<TokenId>(id));
  };
  for (const std::int64_t id : transformer.config.eos_ids) add(id);
  if (const auto it = generation_config.find("eos_token_id"); it != generation_config.end()) {
    if (it->is_number_integer()) add(it->get<std::int64_t>());
    if (it->is_array())
      for (const Json& id : *it)
        if (id.is_number_integer()) add(id.get<std::int64_t>());
  }
  if (chat_template && !chat_template->special().eos.empty())
    if (const auto id = tokenizer.id_of(chat_template->special().eos)) add(*id);
  return out;
}

Transformer load_transformer(const fs::path& path) {
  if (is_gguf(path)) return transformer_from_gguf(GgufFile(path));
  require_folder(path);
  const fs::path config_path = path / "config.json";
  const ModelConfig config = config_from_hf(read_json(config_path), config_path.string());
  const SafetensorsFolder tensors(path);
  return transformer_from(config, {path.string(), tensors.names(), [&](const std::string& name) { return tensors.tensor(name); }});
}

LanguageModel load_language_model(const fs::path& path) {
  if (is_gguf(path)) return language_model_from_gguf(GgufFile(path));
  require_folder(path);
  if (!fs::exists(path / "tokenizer.json"))
    throw Error("model load", path.string() + " lacks tokenizer.json",
                "older folders (vocab.json, sentencepiece) have to be saved once by transformers with a fast tokenizer");
  Tokenizer tokenizer = Tokenizer::from_file(path / "tokenizer.json");
  LanguageModel model{load_transformer(path), std::move(tokenizer), ChatTemplate::from_folder(path), Json::object(), path.string()};
  if (fs::exists(path / "generation_config.json")) model.generation_config = read_json(path / "generation_config.json");
  return model;
}

std::string weights_sha256(const fs::path& model) {
  if (!fs::is_directory(model)) return sha256_file(model);
  if (fs::exists(model / "model.safetensors")) return sha256_file(model / "model.safetensors");
  std::set<fs::path> shards;
  for (const auto& entry : fs::directory_iterator(model))
    if (entry.path().extension() == ".safetensors") shards.insert(entry.path());
  std::string hashes;
  for (const fs::path& shard : shards) hashes += sha256_file(shard);
  return sha256(hashes);
}

void save_language_model(const fs::path& folder, const LanguageModel& model, c10::ScalarType dtype) {
  if (dtype != c10::kFloat && dtype != c10::kBFloat16)
    throw Error("model save", "stored tensors are f32 or bf16, not " + dtype_name(dtype));
  Json config = config_to_hf(model.transformer.config);
  config["dtype"] = config["torch_dtype"] = dtype == c10::kFloat ? "float32" : "bfloat16";
  const NamedTensors tensors = stored_tensors(model.transformer, [&](const Tensor& t) { return t.detach().to(dtype); });
  write_folder_atomically(folder, [&](const fs::path& to) {
    write_json(to / "config.json", config);
    save_safetensors(to / "model.safetensors", tensors, {{"format", "pt"}});
    write_text(to / "tokenizer.json", model.tokenizer.json());
    write_json(to / "tokenizer_config.json", tokenizer_config(model));
    write_json(to / "generation_config.json", generation_config(model));
  });
}

}  // namespace assay
