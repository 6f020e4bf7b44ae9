// chat/<template>.json against transformers' apply_chat_template: text, errors, ranges of the assistant's text.
#include "assay/text/chat_template.h"
#include "support.h"

namespace assay::golden {
namespace {

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

void check_case(Account& account, const ChatTemplate& chat, const Json& c, const std::string& now, const std::string& where) {
  const auto error = value_or<std::string>(c, "error", "", where);
  try {
    const Rendered rendered = chat.render(c.at("messages"), options_of(c, now));
    if (!error.empty()) {
      account.check(false, where + ": rendered " + rendered.text + "; the error " + error + " was wanted");
      return;
    }
    account.equal(rendered.text, require<std::string>(c, "output", where), where);
    if (c.contains("assistant_spans"))
      account.equal(rendered.assistant_spans, c["assistant_spans"].get<decltype(rendered.assistant_spans)>(), where + " spans");
  } catch (const Error& e) {
    const std::string prefix = "TemplateError: ";
    if (error.empty())
      account.check(false, where + ": " + e.what());
    else if (error.starts_with(prefix))
      account.equal(e.message(), error.substr(prefix.size()), where);
    else
      account.check(true, where);
  }
}

}  // namespace
}  // namespace assay::golden

int assay::golden::chat() {
  return golden::run("chat", [](Account& account, const fs::path& folder) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() != ".json") continue;
      const std::string name = entry.path().stem().string();
      const Json vectors = read_json(entry.path());
      if (!vectors.contains("cases")) {
        account.not_run(name, "no cases in it");
        continue;
      }
      account.run_case(name, [&] {
        const SpecialTokens special{.bos = value_or<std::string>(vectors, "bos_token", "", name),
                                    .eos = value_or<std::string>(vectors, "eos_token", "", name),
                                    .pad = value_or<std::string>(vectors, "pad_token", "<|im_end|>", name),
                                    .unk = value_or<std::string>(vectors, "unk_token", "<|endoftext|>", name)};
        const ChatTemplate chat(require<std::string>(vectors, "template", name), special);
        const auto now = value_or<std::string>(vectors, "now", "2026-01-15 13:45:07", name);
        std::size_t n = 0;
        for (const Json& c : vectors.at("cases")) check_case(account, chat, c, now, "case " + std::to_string(n++));
      });
    }
  });
}
