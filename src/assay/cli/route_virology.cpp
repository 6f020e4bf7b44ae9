#include <fmt/format.h>

#include <memory>

#include "assay/base/files.h"
#include "assay/cli/command.h"
#include "assay/routing/experiments/virology.h"

namespace assay::cli {
namespace {

struct VirologyArguments {
  std::string config, out = "virology";
  std::vector<std::string> tokens, data;
  int seeds = 0;
  bool quick = false;
};

void run_virology_command(const VirologyArguments& a, const Context& context) {
  if (!a.config.empty() && a.quick) throw UsageError("route virology", "CONFIG and --quick name two configurations", "give one of them");
  const std::string text = a.config.empty() ? routing::virology_preset(a.quick ? "quick" : "small") : read_text(a.config);
  const TomlTable table = TomlTable::from_text(text, a.config.empty() ? "preset" : a.config);
  const fs::path folder = fs::path(a.config).parent_path();
  auto experiment = routing::stories_experiment_from(table, folder);
  auto options = routing::virology_options_from(table.table("tokens"), folder);
  table.done();
  for (const std::string& file : a.data) experiment.data.files.emplace_back(file);
  if (!a.data.empty()) experiment.source["data"]["files"] = a.data;
  if (!a.tokens.empty()) experiment.source["tokens"]["tokens"] = options.tokens = a.tokens;
  if (a.seeds > 0) experiment.seeds = a.seeds;
  experiment.budget.options.precision = context.precision();
  for (const char* key : {"seeds", "method", "retrain", "defaults"}) experiment.source.erase(key);
  experiment.source["dtype"] = context.dtype;

  Json results = {{"name", "virology"}};
  results.update(routing::run_virology(experiment, options, context.seed, a.out, *context.progress));
  results["config"] = experiment.source;
  results["assay"] = version_json();
  results["command"] = fmt::format("assay route virology{}{} --seeds {} --seed {} --dtype {}", a.config.empty() ? "" : " " + a.config,
                                   a.quick ? " --quick" : "", experiment.seeds, context.seed, context.dtype);
  write_json(fs::path(a.out) / "results.json", results);
  context.print(results,
                routing::virology_table(results) + fmt::format("\n{:.0f} CPU-seconds of training\n", results["cpu_s"].get<double>()));
}

}  // namespace

void add_route_virology(CLI::App& route, Context& context) {
  const auto a = std::make_shared<VirologyArguments>();
  CLI::App* command =
      route.add_subcommand("virology", "A few tokens of a subject routed to a few neurons: what goes when those go (section 4.2.3)");
  command->add_option("CONFIG", a->config, "TOML file as of tinystories, with a section [tokens]")->check(CLI::ExistingFile);
  command->add_option("--tokens", a->tokens, "The tokens that are routed, with leading spaces (default: chosen from the data)")
      ->delimiter(',');
  command->add_option("--data", a->data, "Files of texts instead of generated stories")->delimiter(',')->check(CLI::ExistingFile);
  command->add_option("--seeds", a->seeds, "Seeds, from --seed on (default: the configuration's)")->check(CLI::Range(1, 1000));
  command->add_flag("--quick", a->quick, "Tiny models: a minute");
  command->add_option("--out", a->out, "Folder; a run that was stopped goes on from it")->capture_default_str();
  command->footer("Example: assay route virology --quick --seeds 1 --out virology");
  on_run(*command, [a, &context] {
    context.start();
    run_virology_command(*a, context);
  });
}

}  // namespace assay::cli
