#include <fmt/format.h>

#include <memory>

#include "assay/base/files.h"
#include "assay/cli/command.h"
#include "assay/routing/experiments/steer.h"

namespace assay::cli {
namespace {

struct SteerArguments {
  std::string config, token, out = "steer";
  std::vector<std::string> data;
  int seeds = 0;
  bool quick = false;
};

void run_steer_command(const SteerArguments& a, const Context& context) {
  if (!a.config.empty() && a.quick) throw UsageError("route steer", "CONFIG and --quick name two configurations", "give one of them");
  const std::string text = a.config.empty() ? routing::steer_preset(a.quick ? "quick" : "small") : read_text(a.config);
  const TomlTable table = TomlTable::from_text(text, a.config.empty() ? "preset" : a.config);
  auto experiment = routing::stories_experiment_from(table, fs::path(a.config).parent_path());
  auto options = routing::steer_options_from(table.table("steer"));
  table.done();
  for (const std::string& file : a.data) experiment.data.files.emplace_back(file);
  if (!a.data.empty()) experiment.source["data"]["files"] = a.data;
  if (!a.token.empty()) options.token = a.token;
  if (a.seeds > 0) experiment.seeds = a.seeds;
  experiment.budget.options.precision = context.precision();
  for (const char* key : {"steer", "seeds", "method", "retrain", "defaults"}) experiment.source.erase(key);
  experiment.source["dtype"] = context.dtype;

  Json results = {{"name", "steer"}};
  results.update(routing::run_steer(experiment, options, context.seed, a.out, *context.progress));
  results["config"] = experiment.source;
  results["assay"] = version_json();
  results["command"] = fmt::format("assay route steer{}{}{} --seeds {} --seed {} --dtype {}", a.config.empty() ? "" : " " + a.config,
                                   a.quick ? " --quick" : "", a.token.empty() ? "" : " --token '" + a.token + "'", experiment.seeds,
                                   context.seed, context.dtype);
  write_json(fs::path(a.out) / "results.json", results);
  context.print(results, routing::steer_table(results) + fmt::format("\n{:.0f} CPU-seconds of training\n", results["cpu_s"].get<double>()));
}

}  // namespace

void add_route_steer(CLI::App& route, Context& context) {
  const auto a = std::make_shared<SteerArguments>();
  CLI::App* command = route.add_subcommand("steer", "One dimension of the residual stream that stands for a token (section 4.2.1)");
  command->add_option("CONFIG", a->config, "TOML file as of tinystories, with a section [steer]")->check(CLI::ExistingFile);
  command->add_option("--token", a->token, "The token whose gradient dimension 0 gets, with its leading space (default: ' forest')");
  command->add_option("--data", a->data, "Files of real stories instead of generated ones")->delimiter(',')->check(CLI::ExistingFile);
  command->add_option("--seeds", a->seeds, "Seeds, from --seed on (default: the configuration's)")->check(CLI::Range(1, 1000));
  command->add_flag("--quick", a->quick, "Tiny models: a minute");
  command->add_option("--out", a->out, "Folder; a run that was stopped goes on from it")->capture_default_str();
  command->footer("Example: assay route steer --quick --seeds 1 --out steer");
  on_run(*command, [a, &context] {
    context.start();
    run_steer_command(*a, context);
  });
}

}  // namespace assay::cli
