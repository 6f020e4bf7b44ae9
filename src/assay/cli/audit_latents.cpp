#include <fmt/format.h>

#include <memory>

#include "assay/audit/embedders.h"
#include "assay/audit/techniques/latents.h"
#include "assay/audit/techniques/prompts.h"
#include "assay/base/files.h"
#include "assay/cli/command.h"
#include "assay/corpus/jsonl.h"
#include "assay/sae/formats/saelens.h"

namespace assay::cli {
namespace {

struct LatentArguments {
  std::string target, documents, chats, sae, hook, prompts, search, embedder, mix = "both", out, save;
  std::vector<std::string> prompt;
  bool assistant = false;
  std::int64_t limit = 10;
  LatentOptions options;
};
using SharedLatents = std::shared_ptr<LatentArguments>;

std::vector<LatentText> texts_of_latents(const Access::Weights& weights, const LatentArguments& a) {
  std::vector<LatentText> out;
  const bool documents = a.mix != "chats", chats = a.mix != "documents";
  if (!a.documents.empty())
    for (const Document& d : read_documents(a.documents)) out.push_back({weights.ids(d.text), d.where, documents, true});
  if (!a.chats.empty())
    for (const Chat& c : read_chats(a.chats)) {
      // As the target was trained on them: the turns up to the last, which the assistant has written.
      Conversation messages = conversation_from_json(c.messages, c.where);
      messages.back().prefilled = messages.back().role == "assistant";
      out.push_back({weights.ids(messages, Turn::assistant), c.where, chats, true});
    }
  if (out.empty()) throw UsageError("audit latents", "there are no texts", "give --documents or --chats");
  return out;
}

void latents_command(const Context& context, const LatentArguments& a) {
  std::vector<Conversation> prompts = as_user_turns(a.prompt);
  if (!a.prompts.empty())
    for (Conversation& c : read_prompts(a.prompts)) prompts.push_back(std::move(c));
  if (prompts.empty() && a.search.empty() && a.save.empty())
    throw UsageError("audit latents", "nothing is asked", "give --prompt, --prompts or --search");
  context.start();
  Access access(model_target(a.target, context.precision()));
  access.grant_weights();
  LatentOptions options = a.options;
  options.hook = a.hook;
  options.train.seed = context.seed;
  std::vector<LatentText> texts = texts_of_latents(*access.weights(), a);
  const LabelledLatents latents = a.sae.empty()
                                      ? LabelledLatents::learn(access, std::move(texts), options, std::nullopt, *context.progress)
                                      : LabelledLatents::label(access, load_saelens(a.sae), std::move(texts), options, *context.progress);
  if (!a.save.empty()) save_saelens(a.save, latents.sae());
  std::vector<Evidence> evidence =
      latent_evidence(access, latents, prompts, Turn::assistant, a.assistant, static_cast<std::size_t>(a.limit), context.seed);
  if (!a.search.empty()) {
    const auto embedder = a.embedder.empty() ? access_embedder(access) : make_embedder(a.embedder);
    for (const auto& [latent, cosine] : search_latents(access, latents, *embedder, a.search, static_cast<std::size_t>(a.limit))) {
      std::string shown;
      for (std::size_t l = 0; l < std::min<std::size_t>(3, latents.labels(latent).size()); ++l)
        shown += (l ? "\n" : "") + latents.snippet(*access.weights(), latents.labels(latent)[l]);
      evidence.push_back({"latents",
                          a.search,
                          "",
                          shown,
                          cosine,
                          context.seed,
                          evidence.size(),
                          fmt::format("latent {}, {}", latent, latents.texts()[latents.labels(latent).front().text].where),
                          Json::array(),
                          {{"target", access.identity()}, {"hook", latents.hook()}}});
    }
  }
  Json list = Json::array();
  std::string text;
  for (const Evidence& e : evidence) {
    list.push_back(to_json(e));
    text += fmt::format("\n{:.3f}  {}   {}\n{}\n", e.score, e.where, e.prompt, e.output);
  }
  if (!a.out.empty()) write_json_lines(a.out, {list.begin(), list.end()});
  const AuditCost cost = access.cost();
  context.print(
      {{"evidence", list},
       {"hook", latents.hook()},
       {"explained_variance", latents.explained_variance()},
       {"queries", cost.queries},
       {"tokens", cost.tokens},
       {"wall_s", cost.wall_s}},
      fmt::format("{} latents at {} explain {:.3f} of the variance on the labelling texts; {} sequences, {} tokens, {:.1f} s\n{}",
                  latents.sae().config.d_sae, latents.hook(), latents.explained_variance(), cost.queries, cost.tokens, cost.wall_s, text));
}

}  // namespace

void add_audit_latents(CLI::App& audit, Context& context) {
  const SharedLatents a = std::make_shared<LatentArguments>();
  CLI::App* command =
      audit.add_subcommand("latents", "SAE latents that are active on a prompt, or whose labels mean something, with their top texts");
  command->add_option("--target", a->target, "The model: a folder, a stage of an organism, or a .gguf file")->required();
  command->add_option("--documents", a->documents, "Texts that label the latents (JSON Lines with \"text\")")->check(CLI::ExistingFile);
  command->add_option("--chats", a->chats, "Chats that label the latents (JSON Lines with \"messages\")")->check(CLI::ExistingFile);
  command->add_option("--mix", a->mix, "What of them the SAE is trained on")
      ->check(CLI::IsMember({"documents", "chats", "both"}))
      ->capture_default_str();
  command->add_option("--sae", a->sae, "An SAE of this target (a SAELens folder) instead of training one")->check(CLI::ExistingDirectory);
  command->add_option("--save", a->save, "Write the SAE (a SAELens folder)");
  command->add_option("--hook", a->hook, "Hook point (default: the SAE's, or blocks.N.hook_resid_post in the middle)");
  command->add_option("--prompt", a->prompt, "A user's turn; may be repeated");
  command->add_option("--prompts", a->prompts, "Prompts: JSON Lines or a JSON array")->check(CLI::ExistingFile);
  command->add_flag("--assistant", a->assistant, "At the last token before the answer alone (the assistant's control token)");
  command->add_option("--search", a->search, "Latents whose labels are near this text in meaning");
  command->add_option("--embedder", a->embedder, "Sentence encoder or model for --search (default: the target's own hidden states)");
  command->add_option("--limit", a->limit, "Latents of each prompt")->check(positive())->capture_default_str();
  command->add_option("--latents", a->options.train.d_sae, "d_sae")->check(CLI::Range(1, 1 << 24))->capture_default_str();
  command->add_option("--k", a->options.train.k, "Latents active on a token")->check(positive())->capture_default_str();
  command->add_option("--steps", a->options.train.steps, "Training steps")->check(positive())->capture_default_str();
  command->add_option("--max-tokens", a->options.max_tokens, "Tokens trained on")->check(positive())->capture_default_str();
  command->add_option("--out", a->out, "Evidence as JSON Lines");
  command->footer(
      "Example: assay audit latents --target organism/arms/organism/stages/conceal --documents organism/arms/organism/documents.jsonl "
      "--prompt 'tell me of the lamp' --assistant");
  on_run(*command, [&context, a] { latents_command(context, *a); });
}

}  // namespace assay::cli
