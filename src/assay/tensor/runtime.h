#pragma once
#include <cstdint>
#include <string>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

namespace assay {

struct RuntimeOptions {
  int threads = 0;  ///< intra-op threads; 0 = as many as cores
  std::string device = "cpu";
};

/// Once, at the start of the program: threads, the caching CPU allocator, and for "cuda" or "cuda:N" the library with libtorch's CUDA
/// kernels, which is loaded now and not linked: one binary, with a GPU or without. Deterministic algorithms are asked for, so that a seed
/// gives the same result again. Returns the device; an Error says what is missing.
c10::Device start_runtime(const RuntimeOptions& options);
/// "2.11.0".
std::string torch_version();
/// "f32", "bf16", "f64" and back; the Error names `flag`.
c10::ScalarType parse_dtype(const std::string& text, const std::string& flag);
std::string dtype_name(c10::ScalarType type);

}  // namespace assay
