#include "assay/model/stored_weights.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <c10/core/ScalarType.h>

#include <utility>

#include "assay/base/error.h"
#include "assay/model/families/family.h"

namespace assay {
namespace {

std::string shape_text(c10::IntArrayRef shape) {
  std::string out = "[";
  for (const auto n : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(n);
  return out + "]";
}

/// Slots [begin, end) of one stored tensor.
struct Group {
  std::size_t begin, end;
};

std::vector<Group> groups_of(const std::vector<Slot>& slots) {
  std::vector<Group> groups;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (!groups.empty() && slots[groups.back().begin].file_name() == slots[i].file_name())
      groups.back().end = i + 1;
    else
      groups.push_back({i, i + 1});
  }
  return groups;
}

/// Shape of a group's tensor in the file.
std::vector<std::int64_t> stored_shape(const std::vector<Slot>& slots, Group group) {
  std::vector<std::int64_t> shape = slots[group.begin].shape;
  for (std::size_t i = group.begin + 1; i < group.end; ++i) shape[0] += slots[i].shape[0];
  if (slots[group.begin].transposed) std::swap(shape[0], shape[1]);
  return shape;
}

void check_tensor(const Tensor& stored, const std::vector<std::int64_t>& shape, const std::string& name, const std::string& where) {
  if (!c10::isFloatingType(stored.scalar_type()))
    throw Error("model load",
                where + ": tensor '" + name + "' holds " + c10::toString(stored.scalar_type()) + "; expected floating-point numbers",
                "quantised checkpoints have to be converted first");
  if (stored.sizes() != c10::IntArrayRef(shape))
    throw Error("model load", where + ": tensor '" + name + "' has the shape " + shape_text(stored.sizes()) + "; its config asks for " +
                                  shape_text(shape));
}

}  // namespace

Transformer transformer_from(const ModelConfig& config, const TensorSource& source) {
  config.validate();
  const Family& of = family(config.family, source.where);
  Transformer model{config, {}};
  model.weights.blocks.resize(static_cast<std::size_t>(config.n_layers));
  const std::vector<Slot> slots = of.slots(config, model.weights);
  std::set<std::string> left = source.names;
  for (const Group group : groups_of(slots)) {
    std::string name = slots[group.begin].file_name();
    if (!left.contains(name) && name.starts_with(of.base) && left.contains(name.substr(of.base.size()))) name.erase(0, of.base.size());
    if (!left.contains(name)) throw Error("model load", source.where + " lacks the tensor '" + name + "' that its config asks for");
    const Tensor stored = source.get(name);
    check_tensor(stored, stored_shape(slots, group), name, source.where);
    const bool whole = group.end == group.begin + 1 && !slots[group.begin].transposed;
    const Tensor rows = slots[group.begin].transposed ? stored.t() : stored;
    std::int64_t row = 0;
    for (std::size_t i = group.begin; i < group.end; ++i) {
      const Slot& slot = slots[i];
      *slot.tensor =
          whole ? stored.to(c10::kFloat).contiguous() : at::empty(slot.shape, c10::kFloat).copy_(rows.narrow(0, row, slot.shape[0]));
      row += slot.shape[0];
    }
    left.erase(name);
  }
  for (const std::string& name : left) {
    // transformers does not read an unembedding beside tied embeddings either.
    if (!of.is_buffer(name) && !(config.tied_embeddings && name == "lm_head.weight"))
      throw Error("model load", source.where + " holds the tensor '" + name + "', for which its config has no place");
  }
  if (config.tied_embeddings) model.weights.W_U = model.weights.W_E;
  return model;
}

NamedTensors stored_tensors(const Transformer& model, const std::function<Tensor(const Tensor&)>& pick) {
  // The slots hold pointers into the weights; nothing is written through them here.
  const std::vector<Slot> slots = family(model.config.family, "model save").slots(model.config, const_cast<Weights&>(model.weights));
  NamedTensors tensors;
  for (const Group group : groups_of(slots)) {
    std::vector<Tensor> parts;
    for (std::size_t i = group.begin; i < group.end; ++i) parts.push_back(pick(*slots[i].tensor));
    const Tensor rows = parts.size() == 1 ? parts[0] : at::cat(parts);
    tensors[slots[group.begin].file_name()] = (slots[group.begin].transposed ? rows.t() : rows).contiguous();
  }
  return tensors;
}

}  // namespace assay
