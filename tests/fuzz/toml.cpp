// Any bytes as a recipe: an Error, or a table whose keys can be read as every kind.
#include "assay/base/toml.h"

#include <cstddef>
#include <cstdint>

namespace {

template <class Read>
void try_to(const Read& read) {
  try {
    read();
  } catch (const assay::Error&) {
  }
}

void walk(const assay::TomlTable& table, int depth) {
  for (const std::string& key : table.keys()) {
    try_to([&] { (void)table.integer(key); });
    try_to([&] { (void)table.number(key); });
    try_to([&] { (void)table.boolean(key, false); });
    try_to([&] { (void)table.string(key); });
    try_to([&] { (void)table.strings(key); });
    try_to([&] { (void)table.numbers(key); });
    if (depth == 8) continue;
    try_to([&] { walk(table.table(key), depth + 1); });
    try_to([&] {
      for (const assay::TomlTable& each : table.tables(key)) walk(each, depth + 1);
    });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try_to([&] {
    const auto table = assay::TomlTable::from_text({reinterpret_cast<const char*>(data), size}, "fuzz");
    (void)assay::dump(table.to_json());
    walk(table, 0);
    table.done();
  });
  return 0;
}
