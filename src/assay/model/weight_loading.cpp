#include "assay/model/weight_loading.h"

#include <c10/core/ScalarType.h>

#include "assay/base/error.h"
#include "assay/model/families/llama.h"

namespace assay {
namespace {

std::string shape_text(c10::IntArrayRef shape) {
  std::string out = "[";
  for (const auto n : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(n);
  return out + "]";
}

/// Buffers that older files store and the config determines; an unembedding beside tied embeddings, which transformers does not read
/// either.
bool may_be_left(const ModelConfig& config, const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq") || (config.tied_embeddings && name == "lm_head.weight");
}

}  // namespace

Transformer transformer_from(const ModelConfig& config, const TensorSource& source) {
  config.validate();
  Transformer model{config, {}};
  model.weights.blocks.resize(static_cast<std::size_t>(config.n_layers));
  std::set<std::string> left = source.names;
  for (const llama::Slot& slot : llama::slots(config, model.weights)) {
    if (!source.names.contains(slot.name))
      throw Error("model load", source.where + " lacks the tensor '" + slot.name + "' that its config asks for");
    const Tensor stored = source.get(slot.name);
    if (!c10::isFloatingType(stored.scalar_type()))
      throw Error(
          "model load",
          source.where + ": tensor '" + slot.name + "' holds " + c10::toString(stored.scalar_type()) + "; expected floating-point numbers",
          "quantised checkpoints have to be converted first");
    if (stored.sizes() != c10::IntArrayRef(slot.shape))
      throw Error("model load", source.where + ": tensor '" + slot.name + "' has the shape " + shape_text(stored.sizes()) +
                                    "; its config asks for " + shape_text(slot.shape));
    *slot.tensor = stored.to(c10::kFloat).contiguous();
    left.erase(slot.name);
  }
  for (const std::string& name : left)
    if (!may_be_left(config, name))
      throw Error("model load", source.where + " holds the tensor '" + name + "', for which its config has no place");
  if (config.tied_embeddings) model.weights.W_U = model.weights.W_E;
  return model;
}

}  // namespace assay
