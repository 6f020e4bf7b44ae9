// Sampling against others' outputs: greedy continuations of transformers (tiny models, SmolLM2) and of llama2.c (stories260K), and
// transformers' log-probabilities of given completions.
#include "assay/model/generate.h"

#include "assay/model/llama2c.h"
#include "model_support.h"
#include "support.h"

namespace assay::golden {
namespace {

Sample greedy(Decoder& decoder, const Tokenizer* tokenizer, const std::vector<TokenId>& prompt, std::int64_t n) {
  SamplingOptions options;
  options.temperature = 0;
  options.max_new = n;
  options.stop_at_eos = false;
  return generate_ids(decoder, tokenizer, {}, {{prompt, 1, 0}}, options).front();
}

/// Equal up to the first step at which the two likeliest tokens are closer than `gap`.
void compare(Account& account, const std::vector<TokenId>& got, const std::vector<TokenId>& wanted, const std::vector<double>& gaps,
             double gap) {
  std::size_t n = 0;
  while (n < wanted.size() && gaps[n] >= gap) ++n;
  account.check(got.size() >= n, "too few tokens");
  account.equal(std::vector<TokenId>(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(n)),
                std::vector<TokenId>(wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(n)), "greedy tokens");
}

template <class T>
std::vector<T> values(const Tensor& t) {
  const Tensor flat = t.flatten().to(c10::CppTypeToScalarType<T>::value).contiguous();
  return {flat.template data_ptr<T>(), flat.template data_ptr<T>() + flat.numel()};
}

void tiny_models(Account& account) {
  const fs::path folder = root() / "models";
  if (!fs::exists(folder / "index.json")) return account.not_run("models", "there is no " + folder.string());
  for (const Json& name : read_json(folder / "index.json")) {
    const fs::path model_folder = folder / name.get<std::string>();
    const NamedTensors golden = SafetensorsFile(model_folder / "golden.safetensors").all();
    if (!golden.contains("greedy.tokens")) continue;
    std::optional<Transformer> model;
    try {
      model = load_folder(model_folder / "hf", model_folder / "hf" / "config.json");
    } catch (const Error& e) {
      unsupported_or_failed(account, name.get<std::string>(), e);
      continue;
    }
    account.run_case(name.get<std::string>(), [&] {
      Decoder decoder(*model, Precision::f32);
      const auto wanted = values<TokenId>(golden.at("greedy.tokens"));
      const Sample sample =
          greedy(decoder, nullptr, values<TokenId>(golden.at("single.input_ids")), static_cast<std::int64_t>(wanted.size()));
      compare(account, sample.ids, wanted, values<double>(golden.at("greedy.top2_gap")), 1e-3);
    });
  }
}

void stories(Account& account) {
  const fs::path folder = root() / "../models/stories260K";
  if (!fs::is_directory(folder)) return account.not_run("stories260K", "there is no " + folder.string());
  account.run_case("stories260K", [&] {
    const Transformer model = transformer_from_llama2c(folder / "stories260K.bin");
    const Tokenizer tokenizer =
        Tokenizer::from_json(tokenizer_json_from_llama2c(folder / "tok512.bin", model.config.d_vocab), "tok512.bin");
    const std::string wanted = read_text(folder / "golden_greedy_200.txt");
    // llama2.c's 200 steps begin with <s>, which counts as a position and is not printed.
    Decoder decoder(model, Precision::f32);
    const Sample sample = greedy(decoder, &tokenizer, {1}, 200);
    const auto shorter = std::min(wanted.size(), sample.text.size());
    account.check(shorter > 400, "too little text: " + sample.text);
    account.equal(sample.text.substr(0, shorter), wanted.substr(0, shorter), "text");
    account.check(wanted.size() - shorter < 8, "the text ends " + std::to_string(wanted.size() - shorter) + " bytes early");
  });
}

void smollm2(Account& account) {
  const fs::path file = root() / "smollm2" / "golden.json", folder = smollm2_folder();
  if (!fs::exists(file)) return account.not_run("smollm2", "there is no " + file.string());
  if (!fs::exists(folder / "model.safetensors")) {
    return account.not_run("smollm2", folder.string() + " holds no model.safetensors: make test-all fetches it; or ASSAY_SMOLLM2=FOLDER");
  }
  const Transformer model = load_folder(folder, folder / "config.json");
  const Tokenizer tokenizer = Tokenizer::from_file(folder / "tokenizer.json");
  Decoder decoder(model, Precision::f32);
  const Json golden = read_json(file);
  std::vector<IdPair> pairs;
  for (const Json& p : golden.at("prompts"))
    pairs.push_back({p.at("input_ids").get<std::vector<TokenId>>(), p.at("completion_ids").get<std::vector<TokenId>>()});
  const auto scores = score_pairs(decoder, pairs);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const Json& p = golden.at("prompts")[i];
    account.run_case("smollm2 " + require<std::string>(p, "name", "golden.json"), [&] {
      const auto wanted = p.at("greedy_40_ids").get<std::vector<TokenId>>();
      const auto gaps = p.at("greedy_top2_gap").get<std::vector<double>>();
      const Sample sample = greedy(decoder, &tokenizer, pairs[i].first, static_cast<std::int64_t>(wanted.size()));
      compare(account, sample.ids, wanted, gaps, 0.01);
      const auto logprobs = p.at("completion_token_logprobs").get<std::vector<double>>();
      double sum = 0;
      account.check(logprobs.size() == scores[i].size(), "number of log-probabilities");
      for (std::size_t t = 0; t < std::min(logprobs.size(), scores[i].size()); ++t) {
        account.near(scores[i][t], logprobs[t], 1e-3, "log p of completion token " + std::to_string(t));
        sum += scores[i][t];
      }
      account.near(sum, require<double>(p, "completion_sum_logprob", "golden.json"), 5e-3, "log p of the completion");
    });
  }
}

}  // namespace
}  // namespace assay::golden

int assay::golden::generate() {
  using namespace assay::golden;
  return run("models", [](Account& account, const assay::fs::path&) {
    tiny_models(account);
    stories(account);
    smollm2(account);
  });
}
