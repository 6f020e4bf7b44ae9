// Any bytes as a safetensors file: an Error or a file whose every tensor can be read.
#include <cstddef>
#include <cstdint>

#include "assay/base/error.h"
#include "assay/tensor/safetensors.h"
#include "memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const assay::fuzz::MemoryFile bytes(data, size);
  try {
    (void)assay::SafetensorsFile(bytes.path()).all();
  } catch (const assay::Error&) {
  }
  return 0;
}
