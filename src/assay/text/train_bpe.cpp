#include "assay/text/train_bpe.h"

#include "assay/text/bridge.h"

namespace assay {

std::string train_bpe_tokenizer(const std::vector<std::string>& texts, std::int64_t vocabulary, const std::vector<std::string>& special) {
  if (texts.empty()) throw Error("tokenizer training", "there are no texts to learn from");
  if (vocabulary < 1) throw Error("tokenizer training", "the vocabulary is to have " + std::to_string(vocabulary) + " entries");
  std::vector<const char*> data;
  std::vector<std::size_t> sizes;
  for (const auto* list : {&special, &texts}) {
    for (const std::string& text : *list) {
      data.push_back(text.data());
      sizes.push_back(text.size());
    }
  }
  bridge::Text out;
  bridge::check("tokenizer training", "", [&](AssayText* error) {
    return assay_bpe_train(data.data(), sizes.data(), data.size(), special.size(), static_cast<std::size_t>(vocabulary), out.out(), error);
  });
  return out.str();
}

}  // namespace assay
