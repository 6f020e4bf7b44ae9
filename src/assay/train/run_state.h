#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/tensor/tensor.h"

namespace assay {

/// Where a run stands besides weights and moments. `history` holds one value a step, so that every mean that is reported can be formed
/// again after a resume.
struct RunState {
  std::int64_t step = 0, tokens = 0;
  double cpu_s = 0, wall_s = 0;
  int threads = 0;  ///< of the process that saved it
  bool done = false, stopped_by_probe = false;
  std::map<std::string, double> probe;                 ///< last values
  std::map<std::string, std::vector<double>> history;  ///< "loss", "grad_norm", the objective's metrics
};

struct Checkpoint {
  RunState state;
  Json identity;           ///< options, objective, parameters: what must agree for a run to go on
  NamedTensors weights;    ///< by parameter name
  NamedTensors optimizer;  ///< AdamW::state(); empty once the run is done
};

/// One safetensors file, replaced atomically.
void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);
Checkpoint load_checkpoint(const std::filesystem::path& path);

/// Copies saved tensors over those of a run, by name. An Error names `where` and the one that it lacks in this shape.
void restore(const NamedTensors& saved, const NamedTensors& to, const std::filesystem::path& where);

/// What differs, one line each: "options.lr: 0.001 in the folder, 0.002 asked for". Empty where the two agree.
std::vector<std::string> differences(const Json& stored, const Json& asked, const std::string& where = {});

/// Keeps the lines of a metrics file whose "step" is at most `step` (a run that goes on from there writes the later ones again).
void truncate_metrics(const std::filesystem::path& path, std::int64_t step);

}  // namespace assay
