#include "assay/tensor/runtime.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "assay/base/error.h"
#include "assay/tensor/caching_allocator.h"

namespace assay {
namespace {

/// Where the libtorch lies that this program runs with.
std::filesystem::path torch_folder() {
  void* loaded = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);
  link_map* map = nullptr;
  if (!loaded || dlinfo(loaded, RTLD_DI_LINKMAP, &map) != 0 || !map) return {};
  return std::filesystem::path(map->l_name).parent_path();
}

c10::Device start_cuda(const std::string& name) {
  int index = 0;
  if (name != "cuda") {
    const char *begin = name.data() + 5, *end = name.data() + name.size();
    const auto [stopped, error] = std::from_chars(begin, end, index);
    if (!name.starts_with("cuda:") || error != std::errc{} || stopped != end || index < 0)
      throw UsageError("usage", "--device is '" + name + "', expected cpu, cuda or cuda:N");
  }
  const std::filesystem::path library = torch_folder() / "libtorch_cuda.so";
  // Products are bit for bit the same again only with a workspace of a fixed size (cuBLAS' manual, "Results reproducibility").
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  if (!dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL)) {
    const char* why = dlerror();
    throw UsageError("usage", "--device " + name + ": libtorch's CUDA kernels cannot be loaded: " + (why ? why : library.string()),
                     "put the lib/ folder of a Python's torch " ASSAY_TORCH_VERSION
                     " with CUDA in LD_LIBRARY_PATH, or build with TORCH_DIR set to its torch/ folder");
  }
  const int devices = at::detail::getCUDAHooks().deviceCount();
  if (index >= devices)
    throw UsageError("usage", "--device " + name + " is not there: CUDA sees " + std::to_string(devices) + " devices",
                     devices == 0 ? "is there a GPU, and its driver?" : "");
  auto& context = at::globalContext();
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);  // attention's backward is deterministic only when it must be
  context.setDeterministicFillUninitializedMemory(false);
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(index)};
}

}  // namespace

c10::Device start_runtime(const RuntimeOptions& options) {
  // A team of threads is started at once: thousands of them take minutes, and more than cores only wait for each other.
  const int most = std::max(256, static_cast<int>(std::thread::hardware_concurrency()));
  if (options.threads < 0 || options.threads > most)
    throw UsageError("usage", "--threads is " + std::to_string(options.threads) + ", expected 0 (all cores) to " + std::to_string(most));
  install_caching_allocator();
  if (options.threads > 0) at::set_num_threads(options.threads);
  if (options.device == "cpu") return c10::Device(c10::kCPU);
  return start_cuda(options.device);
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
