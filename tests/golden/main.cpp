// golden NAME: one of the tests of this folder. They are one program: a program for each would compile and link the same things again.
#include <cstdio>
#include <map>
#include <string>

#include "tests.h"

int main(int argc, char** argv) {
  using namespace assay;
  const std::map<std::string, int (*)()> tests = {{"chat", golden::chat},
                                                  {"coverage", golden::coverage},
                                                  {"generate", golden::generate},
                                                  {"losses", golden::losses},
                                                  {"lora", golden::lora},
                                                  {"minilm", golden::minilm},
                                                  {"models", golden::models},
                                                  {"optim", golden::optim},
                                                  {"routing", golden::routing},
                                                  {"sae", golden::sae},
                                                  {"safetensors_samples", golden::safetensors_samples},
                                                  {"smollm2", golden::smollm2},
                                                  {"stats", golden::stats},
                                                  {"stories", golden::stories},
                                                  {"tokenizers", golden::tokenizers}};
  const auto test = argc == 2 ? tests.find(argv[1]) : tests.end();
  if (test != tests.end()) return test->second();
  std::fprintf(stderr, "usage: golden NAME\n");
  for (const auto& [name, run] : tests) std::fprintf(stderr, "  %s\n", name.c_str());
  return 2;
}
