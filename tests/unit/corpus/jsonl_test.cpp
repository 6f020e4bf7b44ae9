#include "assay/corpus/jsonl.h"

#include <gtest/gtest.h>

#include "assay/base/files.h"

namespace assay {
namespace {

class Jsonl : public testing::Test {
 protected:
  fs::path file(const std::string& text) {
    const fs::path path = folder_.path() / "data.jsonl";
    write_text(path, text);
    return path;
  }
  /// The message of the Error that `read` throws for this content.
  template <class Read>
  std::string fault(const std::string& text, Read read) {
    try {
      read(file(text));
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  TemporaryFolder folder_;
};

void expect_contains(const std::string& text, const std::string& part) { EXPECT_NE(text.find(part), std::string::npos) << text; }

TEST_F(Jsonl, DocumentsKeepOrderAndPlace) {
  const auto documents = read_documents(file("\xEF\xBB\xBF{\"text\": \"one\"}\r\n\n  \n{\"text\": \"two\\n\", \"id\": 4}"));
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[0].text, "one");
  EXPECT_EQ(documents[1].text, "two\n");
  EXPECT_TRUE(documents[1].where.ends_with("data.jsonl:4"));
  EXPECT_TRUE(read_documents(file("")).empty());
}

TEST_F(Jsonl, BrokenLinesNameFileAndLine) {
  for (const std::string bad : {"{\"text\": \"cut", "nonsense", "[1]", "3", "{\"text\": 5}", "{\"txt\": \"x\"}", "{\"text\": null}",
                                "{\"text\": \"\xFF\xFE\"}", "{\"text\": \"a\"} {}"}) {
    expect_contains(fault("{\"text\": \"good\"}\n" + bad + "\n{\"text\": \"good\"}\n", read_documents), "data.jsonl:2");
  }
  EXPECT_THROW(read_documents(folder_.path() / "absent.jsonl"), Error);
  EXPECT_THROW(read_documents(folder_.path()), Error);
}

TEST_F(Jsonl, ChatsPassMessagesThrough) {
  const auto chats = read_chats(
      file(R"({"messages": [{"role": "user", "content": "hi", "name": "x"}, {"role": "assistant", "content": null, "tool_calls": []}]})"));
  ASSERT_EQ(chats.size(), 1u);
  EXPECT_EQ(chats[0].messages[0]["name"], "x");
  for (const std::string bad :
       {R"({"messages": []})", R"({"messages": "hi"})", R"({"messages": [1]})", R"({"messages": [{"content": "no role"}]})",
        R"({"messages": [{"role": "user"}]})", R"({"messages": [{"role": "user", "content": 4}]})", "{}"}) {
    expect_contains(fault(bad, read_chats), "data.jsonl:1");
  }
}

TEST_F(Jsonl, PairsInEveryForm) {
  const std::string user = R"({"role": "user", "content": "q"})", good = R"({"role": "assistant", "content": "a"})",
                    bad = R"({"role": "assistant", "content": "b"})";
  for (const std::string& line : {
           std::string(R"({"prompt": "q", "chosen": "a", "rejected": "b"})"),
           R"({"prompt": [)" + user + R"(], "chosen": "a", "rejected": "b"})",
           R"({"prompt": [)" + user + R"(], "chosen": [)" + good + R"(], "rejected": [)" + bad + "]}",
           R"({"chosen": [)" + user + "," + good + R"(], "rejected": [)" + user + "," + bad + "]}",
           R"({"prompt": "q", "chosen": [)" + user + "," + good + R"(], "rejected": [)" + user + "," + bad + "]}",
       }) {
    const auto pairs = read_pairs(file(line));
    ASSERT_EQ(pairs.size(), 1u) << line;
    EXPECT_EQ(pairs[0].prompt, Json::parse("[" + user + "]")) << line;
    EXPECT_EQ(pairs[0].chosen, Json::parse("[" + good + "]")) << line;
    EXPECT_EQ(pairs[0].rejected, Json::parse("[" + bad + "]")) << line;
  }
}

TEST_F(Jsonl, BrokenPairsAreRefused) {
  const std::string user = R"({"role": "user", "content": "q"})", good = R"({"role": "assistant", "content": "a"})";
  for (const std::string& line : {
           std::string(R"({"chosen": "a", "rejected": "b"})"),
           std::string(R"({"prompt": "q", "chosen": "a"})"),
           std::string(R"({"prompt": "q", "chosen": "a", "rejected": "a"})"),
           std::string(R"({"prompt": 3, "chosen": "a", "rejected": "b"})"),
           R"({"chosen": [)" + user + "," + good + R"(], "rejected": [)" + user + "]}",
           R"({"chosen": [)" + user + R"(], "rejected": [)" + good + "]}",
       }) {
    expect_contains(fault(line, read_pairs), "data.jsonl:1");
  }
}

TEST_F(Jsonl, WritingIsReadBack) {
  const fs::path path = folder_.path() / "out.jsonl";
  std::vector<Json> objects;
  for (int i = 0; i < 3000; ++i) objects.push_back({{"text", "line\n" + std::to_string(i) + std::string(40, 'x')}});
  write_json_lines(path, objects);
  const auto documents = read_documents(path);
  ASSERT_EQ(documents.size(), objects.size());
  EXPECT_EQ(documents[2999].text, objects[2999]["text"]);
}

}  // namespace
}  // namespace assay
