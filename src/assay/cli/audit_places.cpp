#include <fmt/format.h>

#include <memory>

#include "assay/audit/places_file.h"
#include "assay/audit/techniques/places.h"
#include "assay/audit/techniques/prompts.h"
#include "assay/cli/command.h"
#include "assay/corpus/jsonl.h"

namespace assay::cli {
namespace {

struct PlaceArguments {
  std::string target, places, prompts, out;
  std::vector<std::string> prompt;
  std::int64_t n = 200, max_new = 48;
};

void places_command(const Context& context, const PlaceArguments& a) {
  std::vector<Conversation> prompts = as_user_turns(a.prompt);
  if (!a.prompts.empty())
    for (Conversation& c : read_prompts(a.prompts)) prompts.push_back(std::move(c));
  std::vector<NamedUnits> places = read_places(a.places);
  context.start();
  Access access(model_target(a.target, context.precision()));
  access.grant_weights(std::move(places));
  GameCard card = default_card();
  card.max_new = a.max_new;
  std::vector<SaidChat> chats;
  if (prompts.empty()) {
    chats = own_chats(access, card, a.n, context.seed, *context.progress);
  } else {
    std::vector<Ask> asks;
    for (const Conversation& c : prompts) {
      chats.push_back({c, Turn::assistant, ""});
      asks.push_back({c, Turn::assistant, 1, asks.size()});
    }
    AskOptions sampling;
    sampling.max_new = a.max_new;
    sampling.seed = context.seed;
    for (const Reply& reply : access.ask(asks, sampling, *context.progress)) chats[reply.ask].reply = reply.text;
  }
  const std::vector<Evidence> ranked = rank_places(access, chats, context.seed, std::nullopt, *context.progress);
  Json list = Json::array();
  for (const Evidence& e : ranked) list.push_back(to_json(e));
  if (!a.out.empty()) write_json_lines(a.out, {list.begin(), list.end()});
  const AuditCost cost = access.cost();
  context.print({{"evidence", list}, {"queries", cost.queries}, {"tokens", cost.tokens}, {"wall_s", cost.wall_s}}, places_text(ranked));
}

}  // namespace

void add_audit_places(CLI::App& audit, Context& context) {
  const auto a = std::make_shared<PlaceArguments>();
  CLI::App* command = audit.add_subcommand("places", "Silence places of the target in turn: without which are its answers lost?");
  command->add_option("--target", a->target, "The model: a folder, a stage of an organism, or a .gguf file")->required();
  command
      ->add_option("--places", a->places,
                   "JSON: {\"places\": {NAME: {\"neurons\": [[...] for each layer], \"heads\": [[...] for each layer]}}}")
      ->required()
      ->check(CLI::ExistingFile);
  command->add_option("--prompt", a->prompt, "A user's turn; may be repeated (default: questions that the target writes itself)");
  command->add_option("--prompts", a->prompts, "Prompts: JSON Lines or a JSON array")->check(CLI::ExistingFile);
  command->add_option("-n,--n", a->n, "Questions that the target writes itself")->check(CLI::Range(1, 1000000))->capture_default_str();
  command->add_option("--max-new", a->max_new, "Tokens of an answer, at most")->check(CLI::Range(1, 1000000))->capture_default_str();
  command->add_option("--out", a->out, "Evidence as JSON Lines");
  command->footer(
      "Example: assay audit places --target organism/stages/conceal --places places.json     (of a target in a game: assay game places)");
  on_run(*command, [&context, a] { places_command(context, *a); });
}

}  // namespace assay::cli
