#include "assay/model/adapter.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/base/json.h"

namespace assay {
namespace {

constexpr const char* kConfig = "adapter_config.json";

/// scale · B A, added to the matrix of that name; and the length that each row of the sum takes (DoRA; undefined without).
struct LowRank {
  Tensor a, b, lengths;
};

[[noreturn]] void refuse(const fs::path& file, const std::string& what) {
  throw Error("adapter load", file.string() + ": " + what,
              "assay merges LoRA and DoRA adapters of PEFT; merge others with peft's merge_and_unload and save the model");
}

double positive(const Json& config, const char* key, const fs::path& file) {
  const auto it = config.find(key);
  if (it == config.end() || !it->is_number() || !(it->get<double>() > 0)) refuse(file, std::string(key) + " must be a number above 0");
  return it->get<double>();
}

bool flag(const Json& config, const char* key) {
  const auto it = config.find(key);
  return it != config.end() && it->is_boolean() && it->get<bool>();
}

bool says_something(const Json& config, const char* key) {
  const auto it = config.find(key);
  return it != config.end() && !it->is_null() && !(it->is_structured() && it->empty());
}

Json read_config(const fs::path& file) {
  Json config = read_json(file);
  if (!config.is_object() || config.value("peft_type", Json()) != "LORA") refuse(file, "peft_type must be LORA");
  if (config.value("bias", Json("none")) != "none") refuse(file, "bias must be none");
  for (const char* key : {"rank_pattern", "alpha_pattern", "modules_to_save", "target_parameters"})
    if (says_something(config, key)) refuse(file, std::string(key) + " is set");
  return config;
}

}  // namespace

std::optional<std::pair<fs::path, fs::path>> split_adapter(const fs::path& path) {
  const std::string text = path.string();
  const std::size_t at = text.rfind('+');
  if (at == std::string::npos || fs::exists(path) || !fs::exists(fs::path(text.substr(at + 1)) / kConfig)) return {};
  return std::pair<fs::path, fs::path>{text.substr(0, at), text.substr(at + 1)};
}

TensorSource with_adapter(TensorSource base, const fs::path& adapter) {
  const fs::path config_file = adapter / kConfig, weights = adapter / "adapter_model.safetensors";
  const Json config = read_config(config_file);
  const double alpha = positive(config, "lora_alpha", config_file);
  const bool root = flag(config, "use_rslora"), transposed = flag(config, "fan_in_fan_out");

  std::map<std::string, LowRank> added;  // by the matrix's name
  constexpr std::string_view kPrefix = "base_model.model.", kA = ".lora_A.weight", kB = ".lora_B.weight",
                             kLengths = ".lora_magnitude_vector";
  const bool dora = flag(config, "use_dora");
  for (const auto& [name, tensor] : SafetensorsFile(weights).all()) {
    const bool is_a = name.ends_with(kA), is_b = name.ends_with(kB), is_lengths = dora && name.ends_with(kLengths);
    if (!name.starts_with(kPrefix) || !(is_a || is_b || is_lengths))
      refuse(weights, "'" + name + "' is neither lora_A nor lora_B of a matrix" + (dora ? ", nor its magnitudes" : ""));
    if (tensor.dim() != (is_lengths ? 1 : 2) || !tensor.is_floating_point())
      refuse(weights, "'" + name + "' is no " + (is_lengths ? "vector" : "matrix") + " of floating-point numbers");
    const std::size_t suffix = is_lengths ? kLengths.size() : kA.size();
    const std::string matrix = name.substr(kPrefix.size(), name.size() - kPrefix.size() - suffix) + ".weight";
    if (!base.names.contains(matrix)) refuse(weights, "'" + name + "': " + base.where + " has no '" + matrix + "'");
    LowRank& low_rank = added[matrix];
    (is_a ? low_rank.a : is_b ? low_rank.b : low_rank.lengths) = tensor.to(at::kFloat);
  }
  if (added.empty()) refuse(weights, "there is no tensor in it");
  for (const auto& [matrix, low_rank] : added)
    if (!low_rank.a.defined() || !low_rank.b.defined() || low_rank.a.size(0) != low_rank.b.size(1))
      refuse(weights, "lora_A and lora_B of '" + matrix + "' do not belong together");
  for (const auto& [matrix, low_rank] : added)
    if (dora && (!low_rank.lengths.defined() || low_rank.lengths.size(0) != low_rank.b.size(0)))
      refuse(weights, "use_dora, and '" + matrix + "' has no lora_magnitude_vector of its rows");

  TensorSource out = base;
  out.where = base.where + "+" + adapter.string();
  out.get = [base = std::move(base), added = std::move(added), alpha, root, transposed, weights](const std::string& name) {
    const Tensor w = base.get(name);
    const auto it = added.find(name);
    if (it == added.end()) return w;
    const auto rank = static_cast<double>(it->second.a.size(0));
    const double scale = alpha / (root ? std::sqrt(rank) : rank);
    Tensor delta = at::matmul(it->second.b, it->second.a) * scale;  // [out, r] x [r, in]
    if (transposed) delta = delta.t();                              // GPT-2's Conv1D stores [in, out]
    if (delta.sizes() != w.sizes()) refuse(weights, "lora_A and lora_B of '" + name + "' do not have the matrix's shape");
    Tensor merged = w.to(at::kFloat) + delta;
    if (!it->second.lengths.defined()) return merged;
    if (transposed) merged = merged.t();
    merged = merged * (it->second.lengths / merged.norm(2, 1)).unsqueeze(1);  // [out, in], rows
    return transposed ? merged.t().contiguous() : merged;
  };
  return out;
}

}  // namespace assay
