#include "assay/base/toml.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "assay/base/files.h"
#include "assay/base/stats.h"

namespace assay {

namespace {

const toml::table kEmpty;

/// Keys in the order of the file (toml++ sorts them by name).
std::vector<std::string> keys_in_order(const toml::table& table) {
  std::vector<std::pair<toml::source_position, std::string>> found;
  for (const auto& [key, value] : table) found.emplace_back(key.source().begin, std::string(key.str()));
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> names;
  for (auto& [position, name] : found) names.push_back(std::move(name));
  return names;
}

std::optional<std::int64_t> as_integer(const toml::node& node) {
  if (node.is_integer()) return node.value_exact<std::int64_t>();
  const auto real = node.value_exact<double>();  // 1e6 is a float in TOML and an integer to who wrote it
  if (real && std::abs(*real) <= 0x1p53 && std::floor(*real) == *real) return static_cast<std::int64_t>(*real);
  return std::nullopt;
}

std::optional<double> as_number(const toml::node& node) {
  if (const auto integer = node.value_exact<std::int64_t>()) return static_cast<double>(*integer);
  return node.value_exact<double>();
}

std::optional<std::string> as_string(const toml::node& node) { return node.value_exact<std::string>(); }

Json json_of(const toml::node& node) {
  if (const toml::table* table = node.as_table()) {
    Json object = Json::object();
    for (const std::string& key : keys_in_order(*table)) object[key] = json_of(*table->get(key));
    return object;
  }
  if (const toml::array* array = node.as_array()) {
    Json list = Json::array();
    for (const toml::node& element : *array) list.push_back(json_of(element));
    return list;
  }
  if (const auto value = node.value_exact<bool>()) return *value;
  if (const auto value = node.value_exact<std::int64_t>()) return *value;
  if (const auto value = node.value_exact<double>()) return number(*value);
  if (const auto value = node.value_exact<std::string>()) return *value;
  std::ostringstream text;  // dates and times
  node.visit([&](const auto& value) {
    if constexpr (toml::is_chronological<decltype(value)>) text << value.get();
  });
  return text.str();
}

/// Levenshtein's distance.
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

struct TomlTable::Node {
  std::shared_ptr<const toml::table> root;  // keeps `table` alive
  const toml::table* table = &kEmpty;
  std::string file, section;
  std::set<std::string> asked;                                       // keys that somebody wanted, there or not
  std::map<std::string, std::vector<std::shared_ptr<Node>>> opened;  // sub-tables, so that a second look shares what was read

  [[nodiscard]] std::string where() const { return section.empty() ? file : file + " [" + section + "]"; }

  const toml::node* find(std::string_view key) {
    asked.emplace(key);
    return table->get(key);
  }
  std::shared_ptr<Node> open(std::string_view key, const toml::table* sub, const std::string& suffix = {}) {
    auto node = std::make_shared<Node>();
    node->root = root, node->table = sub, node->file = file;
    node->section = (section.empty() ? "" : section + ".") + std::string(key) + suffix;
    opened[std::string(key)].push_back(node);
    return node;
  }
  [[noreturn]] void wrong(std::string_view key, const toml::node& found, const std::string& expected) const {
    std::ostringstream type;
    type << found.type();
    throw Error("toml", where() + ", line " + std::to_string(found.source().begin.line) + ": '" + std::string(key) + "' must be " +
                            expected + ", not " + type.str());
  }
  /// The value under `key`, nothing where it is absent, an Error where `convert` cannot read it.
  template <class Convert>
  auto read(std::string_view key, const char* expected, const Convert& convert) {
    const toml::node* node = find(key);
    auto value = node ? convert(*node) : decltype(convert(*node)){};
    if (node && !value) wrong(key, *node, expected);
    return value;
  }
  template <class Convert>
  auto demand(std::string_view key, const char* expected, const Convert& convert) {
    auto value = read(key, expected, convert);
    if (!value) throw Error("toml", where() + " lacks the key '" + std::string(key) + "' (" + expected + ")");
    return *value;
  }
  template <class Convert>
  auto list(std::string_view key, const char* expected, const Convert& convert) {
    std::vector<typename decltype(convert(*table))::value_type> values;
    const toml::node* node = find(key);
    if (!node) return values;
    const toml::array* array = node->as_array();
    if (!array) wrong(key, *node, expected);
    for (const toml::node& element : *array) {
      auto value = convert(element);
      if (!value) wrong(key, element, expected);
      values.push_back(std::move(*value));
    }
    return values;
  }
  void collect_unread(std::vector<std::string>& unread) const {
    for (const std::string& key : keys_in_order(*table)) {
      if (asked.contains(key)) continue;
      std::string message = where() + ", line " + std::to_string(table->get(key)->source().begin.line) + ": unknown key '" + key + "'";
      const auto near =
          std::min_element(asked.begin(), asked.end(), [&](const auto& a, const auto& b) { return edits(a, key) < edits(b, key); });
      if (near != asked.end() && edits(*near, key) <= 2) message += ", did you mean '" + *near + "'?";
      unread.push_back(std::move(message));
    }
    for (const auto& [key, nodes] : opened) {
      for (const auto& node : nodes) node->collect_unread(unread);
    }
  }
};

TomlTable TomlTable::from_file(const std::filesystem::path& path) { return from_text(read_text(path), path.string()); }

TomlTable TomlTable::from_text(std::string_view text, std::string name) {
  try {
    auto node = std::make_shared<Node>();
    node->root = std::make_shared<const toml::table>(toml::parse(text, name));
    node->table = node->root.get();
    node->file = std::move(name);
    return TomlTable(std::move(node));
  } catch (const toml::parse_error& e) {
    const auto at = e.source().begin;
    throw Error("toml",
                name + ", line " + std::to_string(at.line) + ", column " + std::to_string(at.column) + ": " + std::string(e.description()));
  }
}

bool TomlTable::has(std::string_view key) const { return node_->find(key) != nullptr; }

TomlTable TomlTable::table(std::string_view key) const {
  const toml::node* found = node_->find(key);
  if (found && !found->is_table()) node_->wrong(key, *found, "a table");
  if (const auto it = node_->opened.find(std::string(key)); it != node_->opened.end()) return TomlTable(it->second.front());
  return TomlTable(node_->open(key, found ? found->as_table() : &kEmpty));
}

std::vector<TomlTable> TomlTable::tables(std::string_view key) const {
  const toml::node* found = node_->find(key);
  if (!found) return {};
  const toml::array* array = found->as_array();
  if (!array || !std::all_of(array->begin(), array->end(), [](const toml::node& element) { return element.is_table(); })) {
    node_->wrong(key, *found, "an array of tables ([[" + std::string(key) + "]])");
  }
  auto& opened = node_->opened[std::string(key)];
  for (std::size_t i = opened.size(); i < array->size(); ++i) node_->open(key, array->get(i)->as_table(), "[" + std::to_string(i) + "]");
  std::vector<TomlTable> tables;
  for (const auto& node : opened) tables.push_back(TomlTable(node));
  return tables;
}

std::vector<std::string> TomlTable::keys() const { return keys_in_order(*node_->table); }

std::int64_t TomlTable::integer(std::string_view key) const { return node_->demand(key, "an integer", as_integer); }
std::int64_t TomlTable::integer(std::string_view key, std::int64_t fallback) const {
  return node_->read(key, "an integer", as_integer).value_or(fallback);
}
double TomlTable::number(std::string_view key) const { return node_->demand(key, "a number", as_number); }
double TomlTable::number(std::string_view key, double fallback) const { return node_->read(key, "a number", as_number).value_or(fallback); }
bool TomlTable::boolean(std::string_view key, bool fallback) const {
  return node_->read(key, "true or false", [](const toml::node& node) { return node.value_exact<bool>(); }).value_or(fallback);
}
std::string TomlTable::string(std::string_view key) const { return node_->demand(key, "a string", as_string); }
std::string TomlTable::string(std::string_view key, std::string fallback) const {
  return node_->read(key, "a string", as_string).value_or(std::move(fallback));
}
std::vector<std::string> TomlTable::strings(std::string_view key) const { return node_->list(key, "an array of strings", as_string); }
std::vector<double> TomlTable::numbers(std::string_view key) const { return node_->list(key, "an array of numbers", as_number); }

void TomlTable::done() const {
  std::vector<std::string> unread;
  node_->collect_unread(unread);
  if (unread.empty()) return;
  std::string message = unread.front();
  for (std::size_t i = 1; i < unread.size(); ++i) message += "; " + unread[i];
  throw Error("toml", message);
}

Json TomlTable::to_json() const { return json_of(*node_->table); }

std::string TomlTable::where() const { return node_->where(); }

}  // namespace assay
