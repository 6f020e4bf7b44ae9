#pragma once
#include <string>
#include <vector>

namespace assay {

/// A tokenizer.json in which every word is one token: for small synthetic languages. Words carry the space before them (U+2581, as in SentencePiece), punctuation
/// is split off and has none, so that decoding gives natural text. `special` become added tokens with the first ids, then <unk>; `words` are sorted by the caller.
std::string word_level_tokenizer_json(const std::vector<std::string>& words, const std::vector<std::string>& special);

}  // namespace assay
