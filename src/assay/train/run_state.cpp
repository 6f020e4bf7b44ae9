#include "assay/train/run_state.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "assay/base/files.h"
#include "assay/tensor/safetensors.h"

namespace assay {
namespace {

constexpr const char* kFormat = "assay-run-1";

Tensor from_doubles(const std::vector<double>& values) {
  Tensor tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::kDouble);
  std::copy(values.begin(), values.end(), tensor.data_ptr<double>());
  return tensor;
}

std::vector<double> to_doubles(const Tensor& tensor) {
  const auto* data = tensor.const_data_ptr<double>();
  return {data, data + tensor.numel()};
}

/// The rest of `name` after `prefix`, or null.
const char* after(const std::string& name, std::string_view prefix) {
  return name.starts_with(prefix) ? name.c_str() + prefix.size() : nullptr;
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  const RunState& state = checkpoint.state;
  NamedTensors tensors;
  for (const auto& [name, tensor] : checkpoint.weights) tensors["weights/" + name] = tensor.detach();
  for (const auto& [name, tensor] : checkpoint.optimizer) tensors["optimizer/" + name] = tensor;
  for (const auto& [name, values] : state.history) tensors["history/" + name] = from_doubles(values);
  const Json stored{{"step", state.step},
                    {"tokens", state.tokens},
                    {"cpu_s", state.cpu_s},
                    {"wall_s", state.wall_s},
                    {"threads", state.threads},
                    {"done", state.done},
                    {"stopped_by_probe", state.stopped_by_probe},
                    {"probe", state.probe}};
  save_safetensors(path, tensors, {{"format", kFormat}, {"state", dump(stored)}, {"identity", dump(checkpoint.identity)}});
}

Checkpoint load_checkpoint(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  const auto& metadata = file.metadata();
  const auto text = [&](const char* key) -> const std::string& {
    const auto found = metadata.find(key);
    if (found == metadata.end()) throw Error("train", path.string() + " is not a training checkpoint: it lacks '" + key + "'");
    return found->second;
  };
  if (text("format") != kFormat) throw Error("train", path.string() + " has the format '" + text("format") + "', expected " + kFormat);
  Checkpoint checkpoint;
  checkpoint.identity = parse_json(text("identity"), path.string() + " (identity)");
  const Json stored = parse_json(text("state"), path.string() + " (state)");
  const std::string where = path.string();
  RunState& state = checkpoint.state;
  state.step = require<std::int64_t>(stored, "step", where);
  state.tokens = require<std::int64_t>(stored, "tokens", where);
  state.cpu_s = require<double>(stored, "cpu_s", where);
  state.wall_s = require<double>(stored, "wall_s", where);
  state.threads = require<int>(stored, "threads", where);
  state.done = require<bool>(stored, "done", where);
  state.stopped_by_probe = require<bool>(stored, "stopped_by_probe", where);
  state.probe = require<std::map<std::string, double>>(stored, "probe", where);
  for (const auto& [name, entry] : file.entries()) {
    if (const char* weight = after(name, "weights/")) checkpoint.weights[weight] = file.tensor(name);
    if (const char* moment = after(name, "optimizer/")) checkpoint.optimizer[moment] = file.tensor(name);
    if (const char* metric = after(name, "history/")) state.history[metric] = to_doubles(file.tensor(name));
  }
  return checkpoint;
}

void restore(const NamedTensors& saved, const NamedTensors& to, const std::filesystem::path& where) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : to) {
    const auto found = saved.find(name);
    if (found == saved.end() || found->second.sizes() != tensor.sizes())
      throw Error("train", where.string() + " lacks " + name + " in the run's shape", "use another folder, or remove this one");
    tensor.copy_(found->second);
  }
}

std::vector<std::string> differences(const Json& stored, const Json& asked, const std::string& where) {
  if (stored.is_object() && asked.is_object()) {
    std::vector<std::string> all;
    const auto compare = [&](const std::string& key) {
      const Json missing = "nothing";
      const auto path = where.empty() ? key : where + "." + key;
      for (std::string& line : differences(stored.value(key, missing), asked.value(key, missing), path)) all.push_back(std::move(line));
    };
    for (const auto& [key, value] : stored.items()) compare(key);
    for (const auto& [key, value] : asked.items()) {
      if (!stored.contains(key)) compare(key);
    }
    return all;
  }
  if (stored == asked) return {};
  const auto shown = [](const Json& value) {
    std::string text = dump(value);
    return text.size() > 80 ? text.substr(0, 77) + "..." : text;
  };
  return {where + ": " + shown(stored) + " in the folder, " + shown(asked) + " asked for"};
}

void truncate_metrics(const std::filesystem::path& path, std::int64_t step) {
  if (!std::filesystem::exists(path)) return;
  const std::string text = read_text(path);
  std::string kept;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // a torn last line
    const std::string_view line(text.data() + begin, end - begin);
    const Json value = Json::parse(line, nullptr, false);
    if (value.is_object() && value.contains("step") && value["step"].is_number_integer() && value["step"].get<std::int64_t>() <= step) {
      kept += line;
      kept += '\n';
    }
    begin = end + 1;
  }
  if (kept != text) write_text(path, kept);
}

}  // namespace assay
