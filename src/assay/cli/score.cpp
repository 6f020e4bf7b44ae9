#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <numeric>

#include "assay/audit/access.h"
#include "assay/cli/command.h"
#include "assay/model/generate.h"

namespace assay::cli {
namespace {

struct ScoreArguments {
  std::string model, prompt, completion;
  bool chat = false;
};

void run_score(const ScoreArguments& options, const Context& context) {
  const LanguageModel model = load_language_model(options.model, context.start_on_device());
  const std::vector<TokenId> prompt = prompt_ids(model, {{"user", options.prompt}}, options.chat ? Turn::assistant : Turn::raw);
  const std::vector<TokenId> completion = model.tokenizer.encode(options.completion, /*add_special=*/false);
  if (completion.empty()) throw UsageError("score", "--completion is empty");
  const std::vector<float> logprobs = score_tokens(model, prompt, completion, context.precision());
  const double sum = std::accumulate(logprobs.begin(), logprobs.end(), 0.0);
  if (std::isnan(sum)) throw Error("score", options.model + " gives log-probabilities that are no numbers", "do its weights hold NaN?");
  Json tokens = Json::array();
  std::string text = fmt::format("log p = {:.4f} ({} tokens)\n", sum, logprobs.size());
  for (std::size_t i = 0; i < logprobs.size(); ++i) {
    tokens.push_back(model.tokenizer.decode(std::span(&completion[i], 1)));
    text += fmt::format("{:>10.4f}  {}\n", logprobs[i], dump(tokens.back()));
  }
  context.print(Json{{"logprob", sum}, {"token_logprobs", logprobs}, {"tokens", tokens}, {"ids", completion}}, text);
}

}  // namespace

void add_score(CLI::App& app, Context& context) {
  auto options = std::make_shared<ScoreArguments>();
  CLI::App* command = app.add_subcommand("score", "Log-probability of a given text after a prompt (nats)");
  command->add_option("MODEL", options->model, "A Hugging Face folder or a .gguf file")->required();
  command->add_option("--prompt", options->prompt, "Raw text, or with --chat the user's message")->required();
  command->add_option("--completion", options->completion, "The text that is scored; it is tokenized on its own")->required();
  command->add_flag("--chat", options->chat, "Put the prompt into the chat template, the completion is the assistant's");
  command->footer("Example:\n  assay score models/smollm2 --prompt \"The capital of France is\" --completion \" Paris\" --dtype f32");
  on_run(*command, [options, &context] { run_score(*options, context); });
}

}  // namespace assay::cli
