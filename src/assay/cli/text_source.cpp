#include "assay/cli/text_source.h"

#include "assay/tensor/gguf.h"
#include "assay/text/gguf_tokenizer.h"

namespace assay::cli {

namespace {

void require_there(const fs::path& model) {
  if (!fs::exists(model)) throw Error("model load", model.string() + " does not exist", "MODEL is a Hugging Face folder or a .gguf file");
}

}  // namespace

Tokenizer load_tokenizer(const fs::path& model) {
  require_there(model);
  if (model.extension() == ".gguf") return Tokenizer::from_json(tokenizer_json_from_gguf(GgufFile(model).metadata()), model.string());
  if (!fs::is_directory(model)) return Tokenizer::from_file(model);
  if (!fs::exists(model / "tokenizer.json")) throw Error("tokenizer load", model.string() + " holds no tokenizer.json");
  return Tokenizer::from_file(model / "tokenizer.json");
}

ChatTemplate load_chat_template(const fs::path& model) {
  require_there(model);
  const auto found = model.extension() == ".gguf" ? chat_template_from_gguf(GgufFile(model).metadata()) : ChatTemplate::from_folder(model);
  if (!found)
    throw Error("chat template", model.string() + " has no chat template", "a base model has none: use --turn raw with assay chat");
  return *found;
}

}  // namespace assay::cli
