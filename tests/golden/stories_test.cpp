// stories260K (llama2.c): its own greedy output, read from both of its containers. The files lie in models/stories260K beside the golden
// vectors.
#include <ATen/ATen.h>

#include "assay/model/generate.h"
#include "assay/model/llama2c.h"
#include "support.h"

int assay::golden::stories() {
  using namespace assay;
  return golden::run("../models/stories260K", [](golden::Account& account, const fs::path& folder) {
    for (const char* file : {"stories260K.bin", "stories260K.v1.bin"}) {
      account.run_case(file, [&] {
        Transformer transformer = transformer_from_llama2c(folder / file);
        const std::string json = tokenizer_json_from_llama2c(folder / "tok512.bin", transformer.config.d_vocab);
        const LanguageModel model{std::move(transformer), Tokenizer::from_json(json, "tok512.bin"), std::nullopt, Json::object(), file};
        std::string wanted = read_text(folder / "golden_greedy_200.txt");
        while (wanted.ends_with('\n')) wanted.pop_back();
        SamplingOptions options;
        options.temperature = 0;
        options.max_new = 200;
        options.precision = Precision::f32;
        const auto samples = generate(model, {{model.tokenizer.encode(""), 1, 0}}, options);
        std::string text = samples.at(0).text;
        account.check(wanted.size() > 400, "the vectors hold a text");
        account.equal(text.substr(0, wanted.size()), wanted, "greedy text");
      });
    }
  });
}
