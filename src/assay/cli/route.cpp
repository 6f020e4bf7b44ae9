#include "assay/cli/command.h"

namespace assay::cli {

void add_route(CLI::App& app, Context& context) {
  CLI::App* route = app.add_subcommand("route", "Gradient routing: plans, and the published experiments");
  route->require_subcommand(1);
  // One line an experiment, each in its own file route_*.cpp.
  add_route_plan(*route, context);
  add_route_edit(*route, context);
  add_route_mnist(*route, context);
  add_route_gridworld(*route, context);
  add_route_tinystories(*route, context);
  add_route_steer(*route, context);
  add_route_virology(*route, context);
  add_route_profiles(*route, context);
  add_route_cifar100(*route, context);
  add_route_compare(*route, context);
}

}  // namespace assay::cli
