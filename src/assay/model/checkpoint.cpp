#include "assay/model/checkpoint.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/model/families/llama.h"
#include "assay/model/gguf_model.h"
#include "assay/tensor/runtime.h"
#include "assay/tensor/safetensors.h"

namespace assay {
namespace {

std::string shape_text(at::IntArrayRef shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

bool is_gguf(const fs::path& path) { return path.extension() == ".gguf"; }

void require_exists(const fs::path& path) {
  if (!fs::exists(path)) throw Error("model load", path.string() + " does not exist", "MODEL is a Hugging Face folder, a stage of an organism or a .gguf file");
}

Transformer from_folder(const fs::path& folder) {
  const fs::path config_file = folder / "config.json";
  if (!fs::exists(config_file)) throw Error("model load", folder.string() + " holds no config.json", "MODEL is a Hugging Face folder, a stage of an organism or a .gguf file");
  Transformer model{config_from_hf(read_json(config_file), config_file.string()), {}};
  model.weights.blocks.resize(static_cast<std::size_t>(model.config.n_layers));
  NamedTensors tensors = load_sharded_safetensors(folder);
  for (const llama::Slot& slot : llama::slots(model.config, model.weights)) {
    const auto it = tensors.find(slot.name);
    if (it == tensors.end()) throw Error("model load", folder.string() + " lacks the tensor '" + slot.name + "'", "config.json and the weights do not belong together");
    if (it->second.sizes() != at::IntArrayRef(slot.shape))
      throw Error("model load", folder.string() + ": tensor '" + slot.name + "' has the shape " + shape_text(it->second.sizes()) + "; config.json asks for " + shape_text(slot.shape));
    if (!it->second.is_floating_point()) throw Error("model load", folder.string() + ": tensor '" + slot.name + "' is not of floating point");
    *slot.tensor = it->second.to(c10::kFloat);
    tensors.erase(it);
  }
  if (model.config.tied_embeddings) model.weights.W_U = model.weights.W_E;
  return model;
}

}  // namespace

std::vector<TokenId> LanguageModel::stop_ids() const {
  std::vector<TokenId> ids;
  const auto add = [&](std::int64_t id) {
    if (std::find(ids.begin(), ids.end(), static_cast<TokenId>(id)) == ids.end()) ids.push_back(static_cast<TokenId>(id));
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
  return ids;
}

Transformer load_transformer(const fs::path& path) {
  require_exists(path);
  return is_gguf(path) ? transformer_from_gguf(GgufFile(path)) : from_folder(path);
}

LanguageModel load_language_model(const fs::path& path) {
  require_exists(path);
  if (is_gguf(path)) return language_model_from_gguf(path);
  const fs::path tokenizer_file = path / "tokenizer.json", generation_file = path / "generation_config.json";
  Transformer transformer = from_folder(path);
  if (!fs::exists(tokenizer_file)) throw Error("model load", path.string() + " holds no tokenizer.json", "save the tokenizer with the model (PreTrainedTokenizerFast.save_pretrained)");
  LanguageModel model{std::move(transformer), Tokenizer::from_file(tokenizer_file), ChatTemplate::from_folder(path), Json::object(), path.string()};
  if (fs::exists(generation_file)) model.generation_config = read_json(generation_file);
  return model;
}

void save_language_model(const fs::path& folder, const LanguageModel& model, c10::ScalarType dtype) {
  write_folder_atomically(folder, [&](const fs::path& out) {
    Json config = config_to_hf(model.transformer.config);
    config["torch_dtype"] = dtype == c10::kBFloat16 ? "bfloat16" : "float32";
    write_json(out / "config.json", config);
    NamedTensors tensors;
    model.transformer.each_parameter([&](const std::string& name, const Tensor& t) { tensors[name] = t.detach().to(dtype); });
    save_safetensors(out / "model.safetensors", tensors, {{"format", "pt"}});
    write_text(out / "tokenizer.json", model.tokenizer.json());
    Json tokenizer_config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"model_max_length", model.transformer.config.n_ctx}, {"clean_up_tokenization_spaces", false}};
    if (model.chat_template) {
      const SpecialTokens& special = model.chat_template->special();
      for (const auto& [key, value] : {std::pair("bos_token", special.bos), {"eos_token", special.eos}, {"pad_token", special.pad}, {"unk_token", special.unk}})
        if (!value.empty()) tokenizer_config[key] = value;
      tokenizer_config["chat_template"] = model.chat_template->source();
    }
    write_json(out / "tokenizer_config.json", tokenizer_config);
    if (!model.generation_config.empty()) write_json(out / "generation_config.json", model.generation_config);
  });
}

}  // namespace assay
