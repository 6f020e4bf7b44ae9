#include "assay/text/chat_template.h"

#include <gtest/gtest.h>

#include "../error_of.h"
#include "assay/base/files.h"

using namespace assay;

namespace {

const std::string kChatml =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

std::string rendered(const std::string& source, const Json& extra = Json::object()) {
  RenderOptions options;
  options.extra = extra;
  options.now = "2026-01-05 03:04:05";
  return ChatTemplate(source, {}).render(Json::array(), options).text;
}

TEST(ChatTemplate, PromptsOpenEachTurn) {
  const ChatTemplate chat(kChatml, {});
  const Conversation asked = {{"user", "Hi"}};
  const std::string shown = "<|im_start|>user\nHi<|im_end|>\n";
  EXPECT_EQ(chat.prompt(asked), shown + "<|im_start|>assistant\n");
  EXPECT_EQ(chat.prompt(asked, Turn::user), shown + "<|im_start|>user\n");
  EXPECT_EQ(chat.prompt(asked, Turn::raw), "Hi");
  Conversation prefilled = asked;
  prefilled.push_back({"assistant", "I think ", true});
  EXPECT_EQ(chat.prompt(prefilled), shown + "<|im_start|>assistant\nI think ");
}

TEST(ChatTemplate, ATemplateThatTrimsIsCutWithoutTheBlanksItTrimmed) {
  const ChatTemplate chat("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}", {});
  EXPECT_EQ(chat.prompt({{"user", "q"}, {"assistant", "yes  ", true}}), "[q][yes");
  const ChatTemplate drops("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}", {});
  EXPECT_NE(message_of([&] { (void)drops.prompt({{"assistant", "x", true}}); }).find("does not appear"), std::string::npos);
}

TEST(ChatTemplate, GenerationRangesCountCodePoints) {
  const ChatTemplate chat("{% for m in messages %}\xC3\xA9{% generation %}{{ m.content }}{% endgeneration %}\n{% endfor %}", {});
  const Rendered out = chat.render({{{"role", "assistant"}, {"content", "\xF0\x9F\x98\x80!"}}});
  EXPECT_EQ(out.text, "\xC3\xA9\xF0\x9F\x98\x80!");
  EXPECT_EQ(out.assistant_spans, (decltype(out.assistant_spans){{1, 3}}));
}

TEST(ChatTemplate, TheEnvironmentIsTransformers) {
  EXPECT_EQ(rendered("{{ x | tojson }}", {{"x", {{"b", "<&'\">"}, {"a", {1, 2.0, true, nullptr}}}}}),
            R"({"b": "<&'\">", "a": [1, 2.0, true, null]})");
  EXPECT_EQ(rendered("{{ x | tojson(indent=2) }}", {{"x", {{"b", Json::array()}, {"a", {1}}}}}),
            "{\n  \"b\": [],\n  \"a\": [\n    1\n  ]\n}");
  EXPECT_EQ(rendered("{% for i in range(9) %}\n  {% if i == 1 %}{% continue %}{% endif %}\n  {% if i == 3 %}{% break %}{% endif %}\n{{ i "
                     "}}\n{% endfor %}"),
            "0\n2\n");
  EXPECT_EQ(rendered("{{ strftime_now('%d %b %Y %H:%M %A %j') }}"), "05 Jan 2026 03:04 Monday 005");
  EXPECT_EQ(rendered("{{ true }} {{ none }} {{ 1.0 }} {{ 1e20 }} {{ missing }}."), "True None 1.0 1e+20 .");
  EXPECT_EQ(rendered("{% for k, v in x.items() %}{{ k }}={{ v }};{% endfor %}", {{"x", {{"items", 1}, {"b", 2}}}}), "items=1;b=2;");
  EXPECT_EQ(rendered("a\r\nb\n"), "a\nb");
  EXPECT_EQ(message_of([] { rendered("{{ raise_exception('only users: ' ~ 3) }}"); }), "only users: 3");
}

TEST(ChatTemplate, HostileTemplatesAreErrors) {
  std::string deep, parentheses = "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}";
  for (int i = 0; i < 5000; ++i) deep += "{% if true %}";
  for (const std::string& source :
       {std::string("{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}{{ c }}{% endfor %}{% endfor %}{% "
                    "endfor %}"),
        std::string("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}"), std::string("{{ 'x' * 100000000000 }}"),
        std::string("{{ nothing.at.all }}"), std::string("{% if %}"), std::string("{% for x in"), std::string("{% include 'x' %}"),
        std::string("{{ 1 // 0 }}"), std::string("\xFF"), std::string("{% generation %}"), std::string("{{ x.y( }}"), deep, parentheses}) {
    EXPECT_NE(message_of([&] { rendered(source); }), "") << source.substr(0, 60);
  }
}

TEST(ChatTemplate, HostileMessagesAreErrors) {
  const ChatTemplate chat(kChatml, {});
  EXPECT_NE(message_of([&] { (void)chat.render({{{"role", "user"}, {"content", "\xFF"}}}); }).find("UTF-8"), std::string::npos);
  EXPECT_NE(message_of([&] { (void)chat.render(Json::object()); }), "");
  EXPECT_NE(message_of([&] { (void)chat.render(Json::array({1})); }), "");
  Json nested = 1;
  for (int i = 0; i < 1000; ++i) nested = Json::array({nested});
  EXPECT_NE(message_of([&] { (void)chat.render({{{"role", "user"}, {"content", nested}}}); }).find("nested"), std::string::npos);
  RenderOptions both;
  both.add_generation_prompt = both.continue_final_message = true;
  EXPECT_NE(message_of([&] { (void)chat.render({{{"role", "user"}, {"content", "x"}}}, both); }), "");
}

TEST(ChatTemplate, FoldersGiveTheTemplateAndItsTokens) {
  const TemporaryFolder folder;
  EXPECT_FALSE(ChatTemplate::from_folder(folder.path()));
  write_text(folder.path() / "tokenizer_config.json",
             R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null,
                 "chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "{{ bos_token }}!"}]})");
  const auto chat = ChatTemplate::from_folder(folder.path());
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->render(Json::array()).text, "<s>!");
  EXPECT_EQ(chat->special().eos, "</s>");
  write_text(folder.path() / "chat_template.jinja", "{{ eos_token }}?");
  EXPECT_EQ(ChatTemplate::from_folder(folder.path())->render(Json::array()).text, "</s>?");
}

TEST(Conversation, JsonBothWays) {
  const Json json = {{{"role", "user"}, {"content", "a"}, {"name", "x"}}, {{"role", "assistant"}, {"content", "b"}, {"prefill", true}}};
  const Conversation conversation = conversation_from_json(json, "chat");
  EXPECT_TRUE(conversation[1].prefilled);
  EXPECT_EQ(dump(to_json(conversation)), R"([{"role":"user","content":"a"},{"role":"assistant","content":"b","prefill":true}])");
  EXPECT_NE(message_of([] { conversation_from_json({{{"role", "user"}}}, "chat"); }).find("chat[0]"), std::string::npos);
}

}  // namespace
