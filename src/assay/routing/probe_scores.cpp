#include "assay/routing/probe_scores.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "assay/base/error.h"
#include "assay/tensor/safetensors.h"

namespace assay::routing {

void add_probe_scores(const ProbeScore& probe, const Transformer& model, std::vector<RoutedExample>& sequences, Precision precision,
                      Progress& progress) {
  const NamedTensors file = SafetensorsFile(probe.file).all();
  const auto direction = file.find("direction"), bias = file.find("bias");
  const auto d = model.config.d_model;
  if (direction == file.end() || bias == file.end() || direction->second.numel() != d || bias->second.numel() != 1) {
    throw Error("plan",
                "probe '" + probe.name + "': " + probe.file.string() + " must hold direction [" + std::to_string(d) + "] and bias [1]");
  }
  if (probe.layer < 0 || probe.layer > model.config.n_layers) {
    throw Error("plan", "probe '" + probe.name + "': layer " + std::to_string(probe.layer) + " is not in the model's 0 to " +
                            std::to_string(model.config.n_layers));
  }
  const at::NoGradGuard no_grad;
  progress.begin("probe " + probe.name, static_cast<std::int64_t>(sequences.size()), "sequences");
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    TokenBatch batch;
    batch.add(sequences[i].example.ids);
    const Tensor hidden = model.forward(batch, {.precision = precision, .stop_at_layer = probe.layer});
    const Tensor score = at::sigmoid(at::mv(hidden, direction->second.to(hidden.options()).flatten()) + bias->second.to(hidden.options()))
                             .to(at::kCPU, at::kFloat)
                             .contiguous();
    sequences[i].scores[probe.name] = {score.data_ptr<float>(), score.data_ptr<float>() + score.numel()};
    progress.update(static_cast<std::int64_t>(i) + 1);
    if (progress.stop_requested()) throw Interrupted("train");
  }
  progress.end();
}

}  // namespace assay::routing
