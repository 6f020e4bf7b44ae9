// chat/<template>.json against transformers' apply_chat_template: text, errors, ranges of the assistant's text.
#include <cstdio>
#include <cstdlib>

#include "assay/base/files.h"
#include "assay/base/json.h"
#include "assay/text/chat_template.h"

using namespace assay;

namespace {

int failures = 0;

void fail(const std::string& where, const std::string& got, const std::string& wanted) {
  if (++failures <= 20)
    std::printf("FAILED %s\n  got    %s\n  wanted %s\n", where.c_str(), dump(Json(got)).c_str(), dump(Json(wanted)).c_str());
}

RenderOptions options_of(const Json& c, const std::string& now) {
  RenderOptions options;
  options.now = now;
  options.tools = value_or<Json>(c, "tools", nullptr, "case");
  for (const auto& [key, value] : c.at("flags").items()) {
    if (key == "add_generation_prompt") {
      options.add_generation_prompt = value.get<bool>();
    } else if (key == "continue_final_message") {
      options.continue_final_message = value.get<bool>();
    } else {
      options.extra[key] = value;
    }
  }
  return options;
}

void run_case(const ChatTemplate& chat, const Json& c, const std::string& now, const std::string& where) {
  const auto error = value_or<std::string>(c, "error", "", where);
  try {
    const Rendered rendered = chat.render(c.at("messages"), options_of(c, now));
    if (!error.empty()) return fail(where, rendered.text, "the error " + error);
    const auto wanted = require<std::string>(c, "output", where);
    if (rendered.text != wanted) return fail(where, rendered.text, wanted);
    if (c.contains("assistant_spans") && rendered.assistant_spans != c["assistant_spans"].get<decltype(rendered.assistant_spans)>()) {
      fail(where + " spans", dump(Json(rendered.assistant_spans)), dump(c["assistant_spans"]));
    }
  } catch (const Error& e) {
    const std::string prefix = "TemplateError: ";
    if (error.empty()) return fail(where, e.what(), value_or<std::string>(c, "output", "", where));
    if (error.starts_with(prefix) && e.message() != error.substr(prefix.size())) fail(where, e.message(), error);
  }
}

}  // namespace

int main() {
  const char* set = std::getenv("ASSAY_GOLDEN");
  const fs::path root = set != nullptr && *set != '\0' ? fs::path(set) : fs::path(ASSAY_SOURCE_DIR) / "../shared/data/golden";
  const fs::path folder = root / "chat";
  if (!fs::is_directory(folder)) {
    std::printf("skipped: no vectors in %s\n", folder.c_str());
    return 77;
  }
  std::size_t cases = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    const std::string name = entry.path().stem().string();
    const Json vectors = read_json(entry.path());
    if (!vectors.contains("cases")) {
      std::printf("not run: %s (no cases in it)\n", name.c_str());
      continue;
    }
    const SpecialTokens special{.bos = value_or<std::string>(vectors, "bos_token", "", name),
                                .eos = value_or<std::string>(vectors, "eos_token", "", name),
                                .pad = value_or<std::string>(vectors, "pad_token", "<|im_end|>", name),
                                .unk = value_or<std::string>(vectors, "unk_token", "<|endoftext|>", name)};
    const ChatTemplate chat(require<std::string>(vectors, "template", name), special);
    const int before = failures;
    std::size_t n = 0;
    for (const Json& c : vectors.at("cases")) {
      run_case(chat, c, value_or<std::string>(vectors, "now", "2026-01-15 13:45:07", name), name + " case " + std::to_string(n++));
    }
    std::printf("%s: %zu cases, %d failed\n", name.c_str(), n, failures - before);
    cases += n;
  }
  std::printf("%zu cases, %d failed\n", cases, failures);
  return failures != 0 || cases == 0 ? 1 : 0;
}
