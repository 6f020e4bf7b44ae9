#include "assay/text/tokenizer.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "../error_of.h"
#include "assay/base/json.h"

using namespace assay;

namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";

/// Every byte is a token (byte fallback, as Llama's), and "▁hi". The id of a byte is its value + 2.
std::string byte_fallback_json() {
  Json vocab = {{"<unk>", 0}, {"\u2581hi", 1}};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    vocab[name] = byte + 2;
  }
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}};
  return Json{{"decoder", {{"type", "Sequence"}, {"decoders", {replace, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}}}}},
              {"model", {{"type", "BPE"}, {"unk_token", "<unk>"}, {"byte_fallback", true}, {"vocab", vocab}, {"merges", Json::array()}}}}
      .dump();
}

std::vector<TokenId> bytes(std::string_view text) {
  std::vector<TokenId> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c) + 2);
  return ids;
}

struct Streamed {
  std::vector<std::string> pieces;
  std::string all;
};

Streamed stream(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  TextStream out(tokenizer);
  Streamed result;
  for (const TokenId id : ids) {
    result.pieces.push_back(out.push(id));
    result.all += result.pieces.back();
  }
  result.all += out.finish();
  return result;
}

TEST(TextStream, ACharacterComesWhenItsLastByteIsThere) {
  const Tokenizer tokenizer = Tokenizer::from_json(byte_fallback_json(), "test");
  const std::string text = "a\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80";  // a, é, 你, 😀
  const Streamed out = stream(tokenizer, bytes(text));
  EXPECT_EQ(out.pieces, (std::vector<std::string>{"a", "", "\xC3\xA9", "", "", "\xE4\xBD\xA0", "", "", "", "\xF0\x9F\x98\x80"}));
  EXPECT_EQ(out.all, text);
}

TEST(TextStream, BytesThatNeverMakeACharacterAreShownOnceAndNothingIsLost) {
  const Tokenizer tokenizer = Tokenizer::from_json(byte_fallback_json(), "test");
  auto ids = bytes("\xE4\xBD\xA0\xFF");
  ids.push_back(1);
  ids.push_back(1);
  EXPECT_EQ(stream(tokenizer, ids).all, std::string("\xE4\xBD\xA0") + kReplacement + " hi hi");
  EXPECT_EQ(stream(tokenizer, bytes("ab\xF0\x9F")).all, std::string("ab") + kReplacement + kReplacement) << "cut off inside a character";
  const Streamed junk = stream(tokenizer, bytes(std::string(40, '\x80')));
  std::size_t shown = 0;
  for (std::size_t at = junk.all.find(kReplacement); at != std::string::npos; at = junk.all.find(kReplacement, at + 3)) ++shown;
  EXPECT_EQ(shown, 40U);
}

TEST(TextStream, IsEmptyAfterFinish) {
  const Tokenizer tokenizer = Tokenizer::from_json(byte_fallback_json(), "test");
  TextStream out(tokenizer);
  EXPECT_EQ(out.push(2 + 'a'), "a");
  EXPECT_EQ(out.push(2 + 0xC3), "");
  EXPECT_EQ(out.finish(), kReplacement);
  EXPECT_EQ(out.finish(), "");
  EXPECT_EQ(out.push(2 + 'b'), "b");
}

TEST(Tokenizer, BothSpellingsOfMergesLoad) {
  const std::string head = R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": )";
  for (const char* merges : {R"(["a b"])", R"([["a", "b"]])"}) {
    const Tokenizer tokenizer = Tokenizer::from_json(head + merges + "}}", "test");
    EXPECT_EQ(tokenizer.encode("ab"), std::vector<TokenId>{2}) << merges;
  }
}

TEST(Tokenizer, BadFilesAreErrorsThatNameTheFile) {
  const std::string good = byte_fallback_json();
  const std::vector<std::string> bad = {
      "",
      "{",
      "[]",
      "null",
      "{}",
      good.substr(0, good.size() / 2),
      std::string(1000000, '['),
      std::string(200000, '{'),
      "\xFF\xFE",
      R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}})",
      R"({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}})",
      R"({"model": {"type": "BPE", "vocab": {"a": 1e99}, "merges": []}})",
      R"({"model": {"type": "Nonsense"}})",
      R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated", "invert": false},
                                            "model": {"type": "BPE", "vocab": {}, "merges": []}})"};
  for (const std::string& text : bad) {
    const std::string error = error_of([&] { Tokenizer::from_json(text, "bad/tokenizer.json"); });
    EXPECT_NE(error.find("bad/tokenizer.json"), std::string::npos) << text.substr(0, 60) << " -> " << error;
  }
  for (std::size_t cut = 0; cut < good.size(); cut += 37)
    EXPECT_NE(error_of([&] { Tokenizer::from_json(good.substr(0, cut), "cut"); }), "") << cut;
}

TEST(Tokenizer, AFileCannotAskForEndlessPadding) {
  Json json = parse_json(byte_fallback_json(), "test");
  json["padding"] = {{"strategy", {{"Fixed", 4000000000}}},
                     {"direction", "Right"},
                     {"pad_to_multiple_of", nullptr},
                     {"pad_id", 0},
                     {"pad_type_id", 0},
                     {"pad_token", "<unk>"}};
  EXPECT_EQ(Tokenizer::from_json(json.dump(), "test").encode("a").size(), 1U);
}

TEST(Tokenizer, BadIdsAndBadTextAreErrors) {
  const Tokenizer tokenizer = Tokenizer::from_json(byte_fallback_json(), "test");
  EXPECT_NE(error_of([&] { (void)tokenizer.decode(std::vector<TokenId>{1, 100000}); }).find("100000"), std::string::npos);
  EXPECT_NE(error_of([&] { (void)tokenizer.decode(std::vector<TokenId>{-1}); }).find("-1"), std::string::npos);
  EXPECT_NE(error_of([&] { (void)tokenizer.token_of(258); }).find("258"), std::string::npos);
  EXPECT_NE(error_of([&] { (void)tokenizer.encode("abc\xFFx"); }).find("offset 3"), std::string::npos);
  EXPECT_EQ(tokenizer.id_of("\xFF"), std::nullopt);
  EXPECT_EQ(tokenizer.id_of("nothing"), std::nullopt);
  EXPECT_TRUE(tokenizer.encode("").empty());
  EXPECT_EQ(tokenizer.decode({}), "");
}

TEST(Tokenizer, SeveralThreadsMayUseIt) {
  const Tokenizer tokenizer = Tokenizer::from_json(byte_fallback_json(), "test");
  const std::string text = "some text \xF0\x9F\x98\x80";
  const auto wanted = tokenizer.encode(text);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) wrong[static_cast<std::size_t>(t)] += tokenizer.encode(text) != wanted;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

}  // namespace
