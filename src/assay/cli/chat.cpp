#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <numeric>

#include "assay/audit/access.h"
#include "assay/audit/sample_file.h"
#include "assay/cli/command.h"
#include "assay/model/generate.h"

namespace assay::cli {
namespace {

struct ChatArguments {
  std::string model, prompt, prompts, out, system, prefill, turn = "assistant";
  std::int64_t n = 1;
  SamplingOptions sampling;
};

Turn turn_of(const std::string& name) { return name == "user" ? Turn::user : name == "raw" ? Turn::raw : Turn::assistant; }

Conversation conversation_of(const ChatArguments& options) {
  Conversation messages;
  if (!options.system.empty()) messages.push_back({"system", options.system});
  if (!options.prompt.empty()) messages.push_back({"user", options.prompt});
  if (!options.prefill.empty()) messages.push_back({"assistant", options.prefill, /*prefilled=*/true});
  return messages;
}

/// The samples of one prompt.
void sample(const ChatArguments& options, const Context& context) {
  const LanguageModel model = load_language_model(options.model, context.start_on_device());
  const std::vector<Sample> samples = generate(model, {{prompt_ids(model, conversation_of(options), turn_of(options.turn)), options.n, 0}},
                                               options.sampling, *context.progress);
  Json list = Json::array();
  std::string text;
  for (const Sample& s : samples) {
    list.push_back({{"text", s.text},
                    {"prefill", options.prefill},
                    {"tokens", s.ids.size()},
                    {"finish", s.finish == Finish::stop ? "stop" : "length"},
                    {"logprob", std::accumulate(s.logprobs.begin(), s.logprobs.end(), 0.0)},
                    {"seed", options.sampling.seed},
                    {"stream", s.stream},
                    {"ids", s.ids}});
    if (samples.size() > 1) text += fmt::format("--- {} ---\n", s.index + 1);
    text += options.prefill + s.text + "\n";
  }
  context.print(Json{{"samples", list}}, text);
}

/// Samples of every prompt of a file, into another one.
void sample_file(const ChatArguments& options, const Context& context) {
  std::vector<NamedPrompt> prompts = read_named_prompts(options.prompts);
  for (NamedPrompt& p : prompts) {
    if (!options.system.empty() && p.messages.front().role != "system") p.messages.insert(p.messages.begin(), {"system", options.system});
    if (!options.prefill.empty()) p.messages.push_back({"assistant", options.prefill, /*prefilled=*/true});
  }
  const c10::Device device = context.start_on_device();
  const double start = wall_seconds();
  const LanguageModel model = load_language_model(options.model, device);
  const SampleFileSummary done =
      sample_to_file(model, prompts, {options.n, turn_of(options.turn), options.sampling}, options.out, *context.progress);
  const double seconds = wall_seconds() - start;
  context.print(Json{{"path", options.out},
                     {"prompts", prompts.size()},
                     {"samples", done.samples},
                     {"resumed", done.resumed},
                     {"tokens", done.tokens},
                     {"wall_s", seconds}},
                fmt::format("{} samples of {} prompts in {}{}, {} tokens, {:.1f} s\n", done.samples, prompts.size(), options.out,
                            done.resumed > 0 ? fmt::format(" ({} were there)", done.resumed) : "", done.tokens, seconds));
}

/// Reads a line, writes the reply as it is drawn, remembers both.
void converse(ChatArguments options, const Context& context) {
  if (context.json) throw UsageError("chat", "--json needs --prompt");
  const LanguageModel model = load_language_model(options.model, context.start_on_device());
  Decoder decoder(model.transformer, options.sampling.precision);
  Conversation messages;
  if (!options.system.empty()) messages.push_back({"system", options.system});
  if (!context.quiet) std::cerr << "A line is a message; /reset begins anew, an empty line or Ctrl-D ends.\n";
  std::uint64_t stream = 0;
  for (std::string line; (std::cout << "> " << std::flush) && std::getline(std::cin, line) && !line.empty();) {
    if (line == "/reset") {
      messages.resize(options.system.empty() ? 0 : 1);
      continue;
    }
    messages.push_back({"user", line});
    if (!options.prefill.empty()) messages.push_back({"assistant", options.prefill, /*prefilled=*/true});
    TextStream text(model.tokenizer);
    const bool streams = options.sampling.stop.empty();  // a stop text may reach back into what was printed
    if (streams) {
      std::cout << options.prefill;
      options.sampling.on_token = [&](std::int64_t, std::int64_t, TokenId id) { std::cout << text.push(id) << std::flush; };
    }
    Sample reply = generate(model, decoder, {{prompt_ids(model, messages, Turn::assistant), 1, stream++}}, options.sampling).front();
    std::cout << (streams ? text.finish() : options.prefill + reply.text) << "\n";
    if (!options.prefill.empty()) messages.pop_back();
    messages.push_back({"assistant", options.prefill + reply.text});
  }
  std::cout << "\n";
}

}  // namespace

void add_chat(CLI::App& app, Context& context) {
  auto options = std::make_shared<ChatArguments>();
  CLI::App* command = app.add_subcommand("chat", "Sample replies, or talk to the model");
  command->add_option("MODEL", options->model, "A Hugging Face folder or a .gguf file")->required();
  CLI::Option* prompt = command->add_option("--prompt", options->prompt, "The user's message; without it an interactive chat");
  CLI::Option* prompts = command->add_option(
      "--prompts", options->prompts, "Many prompts: JSON Lines or a JSON array of texts, or objects with text, prompt or messages, and id");
  CLI::Option* out =
      command->add_option("--out", options->out, "Samples of --prompts as JSON Lines; a run that was stopped goes on from it");
  prompts->needs(out)->excludes(prompt);
  out->needs(prompts);
  command->add_option("--system", options->system, "The system message");
  command->add_option("--prefill", options->prefill, "Text that the reply is made to begin with");
  command->add_option("--turn", options->turn, "Whose turn the model writes; raw: no template")
      ->check(CLI::IsMember({"assistant", "user", "raw"}))
      ->capture_default_str();
  command->add_option("--n", options->n, "Samples")->check(CLI::Range(1, 1000000))->capture_default_str();
  SamplingOptions& s = options->sampling;
  s.max_new = 256;
  command->add_option("--temperature", s.temperature, "0 = the likeliest token")->check(non_negative())->capture_default_str();
  command->add_option("--top-p", s.top_p, "Keep the likeliest tokens up to this share")->check(CLI::Range(0.0, 1.0))->capture_default_str();
  command->add_option("--top-k", s.top_k, "Keep this many tokens (0 = all)")->check(non_negative())->capture_default_str();
  command->add_option("--min-p", s.min_p, "Keep tokens at least this likely, relative to the likeliest")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--max-new", s.max_new, "Tokens at most")->check(CLI::Range(1, 1000000))->capture_default_str();
  command->add_option("--stop", s.stop, "Texts that end a reply");
  command->add_flag("!--no-eos", s.stop_at_eos, "Go on after the end token");
  command->footer(
      "Example:\n  assay chat models/smollm2 --prompt \"What is a prime number?\" --n 4 --temperature 0.8 --seed 1 --json\n"
      "  assay chat models/smollm2 --prompts prompts.jsonl --max-new 64 --out samples.jsonl");
  on_run(*command, [options, prompt, prompts, &context] {
    options->sampling.seed = context.seed;
    options->sampling.precision = context.precision();
    if (prompts->count() > 0) return sample_file(*options, context);
    if (prompt->count() > 0 || options->turn != "assistant") return sample(*options, context);
    converse(*options, context);
  });
}

}  // namespace assay::cli
