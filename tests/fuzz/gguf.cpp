// Any bytes as a GGUF file: an Error or a file whose every tensor of a known type can be read.
#include <cstddef>
#include <cstdint>

#include "assay/base/error.h"
#include "assay/tensor/gguf.h"
#include "memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const assay::fuzz::MemoryFile bytes(data, size);
  try {
    const assay::GgufFile file(bytes.path());
    for (const auto& [name, entry] : file.entries()) {
      try {
        (void)file.tensor(name);
      } catch (const assay::Error&) {
      }
    }
  } catch (const assay::Error&) {
  }
  return 0;
}
