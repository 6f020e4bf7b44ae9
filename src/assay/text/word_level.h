#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace assay {

/// A tokenizer.json for a small closed vocabulary: every word is a token. Text is split into words (inner hyphens stay: "well-known"),
/// numbers ("3.5"), suffixes behind an apostrophe ("don't" = "don" + "'t"), single marks, and newlines. Decoding gives natural text: blanks
/// between words, none before . , ? ! and the like; straight quotes find their side again. `special`: added tokens ("<|im_end|>"), ids 0..;
/// then "<unk>", the newline, the common marks and quotes, and `words` in their order (doubles dropped). What is not in the vocabulary
/// becomes "<unk>". Loads in transformers (PreTrainedTokenizerFast).
std::string word_level_tokenizer_json(const std::vector<std::string>& words, const std::vector<std::string>& special);

/// The distinct words of texts, split as above, in order of appearance; what stands in `special` is left out.
std::vector<std::string> word_level_words(const std::vector<std::string>& texts, const std::vector<std::string>& special = {});

}  // namespace assay
