#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "assay/cli/program.h"

int main(int argc, char** argv) {
  const int code = assay::cli::run_program(argc, argv);
  // Everything of ours has been closed by now. Leaving without static destructors saves libtorch's unregistering of its operators: a third
  // of the time that a short command takes.
  std::cout.flush();
  std::fflush(nullptr);
  std::_Exit(code);
}
