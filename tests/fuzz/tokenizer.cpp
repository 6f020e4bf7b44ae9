// Any bytes as a tokenizer.json: an Error, or a tokenizer that can be used. (The crate itself is not instrumented: this looks for panics.)
#include "assay/text/tokenizer.h"

#include <cstddef>
#include <cstdint>

#include "assay/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto tokenizer = assay::Tokenizer::from_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    const auto ids = tokenizer.encode("One two, drei \xF0\x9F\x99\x82!");
    (void)tokenizer.decode(ids);
    (void)tokenizer.vocabulary_size();
  } catch (const assay::Error&) {
  }
  return 0;
}
