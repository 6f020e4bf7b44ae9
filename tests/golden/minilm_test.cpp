// all-MiniLM-L6-v2 against sentence-transformers' recipe run by transformers: golden/minilm. The model itself is no part of the vectors:
// $ASSAY_MINILM names its folder, else models/minilm beside the sources (make test-all fetches it). BERT as such: golden/models, cases of
// the kind "bert-mlm".
#include <ATen/ATen.h>

#include "assay/model/bert.h"
#include "assay/tensor/safetensors.h"
#include "support.h"

namespace assay {
namespace {

void close(golden::Account& account, const Tensor& got, const Tensor& wanted, double tolerance, const std::string& what) {
  if (!account.check(got.sizes() == wanted.sizes(), what + ": shapes differ")) return;
  account.near((got.to(c10::kDouble) - wanted.to(c10::kDouble)).abs().max().item<double>(), 0, tolerance, what);
}

/// Rows of a padded batch laid end to end.
struct Rows {
  std::vector<std::int32_t> ids, types;
  std::vector<std::int64_t> offsets = {0};
};
Rows rows_of(const Tensor& ids, const Tensor& types, const std::vector<std::int64_t>& lens) {
  Rows out;
  for (std::size_t r = 0; r < lens.size(); ++r) {
    for (std::int64_t t = 0; t < lens[r]; ++t) {
      out.ids.push_back(ids[static_cast<std::int64_t>(r)][t].item<std::int32_t>());
      out.types.push_back(types.defined() ? types[static_cast<std::int64_t>(r)][t].item<std::int32_t>() : 0);
    }
    out.offsets.push_back(static_cast<std::int64_t>(out.ids.size()));
  }
  return out;
}
Tensor unpadded(const Tensor& padded, const std::vector<std::int64_t>& lens) {
  std::vector<Tensor> out;
  for (std::size_t r = 0; r < lens.size(); ++r) out.push_back(padded[static_cast<std::int64_t>(r)].slice(0, 0, lens[r]));
  return at::cat(out);
}

void bert_case(golden::Account& account, const fs::path& folder) {
  const BertEncoder bert = BertEncoder::from_folder(folder / "hf");
  const SafetensorsFile golden(folder / "golden.safetensors");
  const Json meta = read_json(folder / "meta.json");
  const auto tolerance = require<double>(meta, "tolerance_abs", "meta.json");
  for (const std::string batch : {"single", "right"}) {
    const Tensor ids = golden.tensor(batch + ".input_ids");
    const auto lens = batch == "single" ? std::vector<std::int64_t>{ids.size(1)} : meta["lens"].get<std::vector<std::int64_t>>();
    const Rows rows = rows_of(ids, golden.has(batch + ".token_type_ids") ? golden.tensor(batch + ".token_type_ids") : Tensor(), lens);
    std::vector<Tensor> layers;
    const Tensor hidden = bert.forward(rows.ids, rows.types, rows.offsets, &layers);
    close(account, layers[0], unpadded(golden.tensor(batch + ".embed"), lens), tolerance, batch + ".embed");
    for (std::size_t l = 0; l + 1 < layers.size(); ++l) {
      const std::string name = batch + ".resid_post." + std::to_string(l);
      close(account, layers[l + 1], unpadded(golden.tensor(name), lens), tolerance, name);
    }
    if (golden.has(batch + ".logits"))
      close(account, bert.masked_lm_logits(hidden), unpadded(golden.tensor(batch + ".logits"), lens), tolerance, batch + ".logits");
    if (golden.has(batch + ".last_hidden_state"))
      close(account, hidden, unpadded(golden.tensor(batch + ".last_hidden_state"), lens), tolerance, batch + ".last_hidden_state");
  }
}

void minilm_case(golden::Account& account, const fs::path& folder, const fs::path& model) {
  const SentenceEncoder encoder = SentenceEncoder::from_folder(model);
  const SafetensorsFile golden(folder / "golden.safetensors");
  std::vector<std::string> texts;
  const Json texts_and_ids = require<Json>(read_json(folder / "golden.json"), "texts", "golden.json");
  for (const Json& entry : texts_and_ids) {
    texts.push_back(entry["text"].get<std::string>());
    account.equal(encoder.encode(texts.back()), entry["ids"].get<std::vector<TokenId>>(),
                  "ids of text " + std::to_string(texts.size() - 1));
  }
  const Tensor embeddings = encoder.embed(texts);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::string name = std::to_string(i) + ".embedding";
    close(account, embeddings[static_cast<std::int64_t>(i)], golden.tensor(name), 1e-5, name);
  }
  close(account, at::mm(embeddings, embeddings.t()), golden.tensor("cosine"), 1e-5, "cosine");
}

}  // namespace
}  // namespace assay

int assay::golden::minilm() {
  using namespace assay;
  return golden::run("minilm", [](golden::Account& account, const fs::path& folder) {
    const fs::path models = folder.parent_path() / "models";
    if (fs::exists(models / "index.json"))
      for (const auto& entry : fs::directory_iterator(models))
        if (fs::exists(entry.path() / "meta.json") && read_json(entry.path() / "meta.json").value("model_type", "") == "bert")
          account.run_case("models/" + entry.path().filename().string(), [&] { bert_case(account, entry.path()); });
    const fs::path model = golden::fetched_model("ASSAY_MINILM", "minilm");
    if (fs::exists(model / "model.safetensors"))
      account.run_case("minilm", [&] { minilm_case(account, folder, model); });
    else
      account.not_run("minilm",
                      model.string() + " holds no model.safetensors: make test-all fetches it, or assay model fetch minilm --out DIR");
  });
}
