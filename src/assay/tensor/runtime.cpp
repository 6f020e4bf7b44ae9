#include "assay/tensor/runtime.h"

#include <ATen/Parallel.h>

#include "assay/base/error.h"
#include "assay/tensor/caching_allocator.h"

namespace assay {

c10::Device start_runtime(const RuntimeOptions& options) {
  if (options.threads < 0) throw UsageError("usage", "--threads must be 0 or more");
  install_caching_allocator();
  if (options.threads > 0) at::set_num_threads(options.threads);
  if (options.device == "cpu") return c10::Device(c10::kCPU);
  throw UsageError("usage", "--device " + options.device + " is not available", "this version computes on the CPU: --device cpu");
}

std::string torch_version() { return ASSAY_TORCH_VERSION; }

c10::ScalarType parse_dtype(const std::string& text, const std::string& flag) {
  if (text == "f32") return c10::kFloat;
  if (text == "bf16") return c10::kBFloat16;
  if (text == "f64") return c10::kDouble;
  throw UsageError("usage", flag + " is '" + text + "'; expected f32, bf16 or f64");
}

std::string dtype_name(c10::ScalarType type) {
  switch (type) {
    case c10::kFloat:
      return "f32";
    case c10::kBFloat16:
      return "bf16";
    case c10::kDouble:
      return "f64";
    default:
      return c10::toString(type);
  }
}

}  // namespace assay
