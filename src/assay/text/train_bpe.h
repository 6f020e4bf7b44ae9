#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace assay {

/// The tokenizer.json of a byte-level BPE (as GPT-2's) that the crate `tokenizers` learns from texts. `vocabulary` entries, the special
/// tokens among them (ids 0, 1, ...; at least 256 more are needed for the bytes); fewer where the texts have no more to join. The same
/// texts give the same bytes.
std::string train_bpe_tokenizer(const std::vector<std::string>& texts, std::int64_t vocabulary, const std::vector<std::string>& special);

}  // namespace assay
