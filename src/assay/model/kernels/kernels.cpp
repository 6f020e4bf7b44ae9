#include "assay/model/kernels/kernels.h"

#include <cstdlib>
#include <string_view>

namespace assay::kernels {

const Kernels& kernels() {
  static const Kernels& best = []() -> const Kernels& {
#if defined(__x86_64__)
    const char* asked = std::getenv("ASSAY_KERNELS");
    const std::string_view limit = asked ? asked : "avx512bf16";
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512dq");
    if (avx512 && __builtin_cpu_supports("avx512bf16") && limit == "avx512bf16") return avx512bf16_kernels();
    if (avx512 && limit != "baseline") return avx512_kernels();
#endif
    return baseline_kernels();
  }();
  return best;
}

}  // namespace assay::kernels
