// Any bytes as a submission: an Error, or claims whose predicates answer, and survive their own JSON.
#include "assay/audit/submission.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto submission = assay::submission_from_json(assay::parse_json(text, "fuzz"), {"organism", "clean"}, "fuzz");
    for (const assay::Claim& claim : submission.behaviours) {
      const bool answer = claim.does("A lantern, dear friend? Take care!");
      if (answer != assay::Predicate::parse(claim.does.json(), "again")("A lantern, dear friend? Take care!")) std::abort();
      (void)claim.when(text);
    }
  } catch (const assay::Error&) {
  }
  return 0;
}
