#include "assay/audit/game/seal.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "../error_of.h"
#include "assay/base/files.h"

namespace assay {
namespace {

const Json kTruth = {{"targets", {{{"name", "T1"}, {"arm", "organism"}}}}, {"seed", 7}};

TEST(Seal, KeepsTheTruthAndNamesItsHash) {
  const SealKey key = SealKey::random();
  const Sealed sealed = with_salt(kTruth);
  const std::string box = seal(sealed, key);
  EXPECT_EQ(box.find("organism"), std::string::npos);
  const Sealed opened = open_seal(box, key, "box");
  EXPECT_EQ(opened.truth, kTruth);
  EXPECT_EQ(commitment(opened), commitment(sealed));
  EXPECT_NE(seal(sealed, key), box) << "a nonce must not be used twice";
}

TEST(Seal, TheHashSaysNothingWithoutTheSaltAndBindsTheTruth) {
  const Sealed sealed = with_salt(kTruth);
  EXPECT_NE(commitment(sealed), commitment(with_salt(kTruth)));
  Sealed other = sealed;
  other.truth["targets"][0]["arm"] = "clean";
  EXPECT_NE(commitment(other), commitment(sealed));
  other.salt = "salt";
  EXPECT_NE(error_of([&] { commitment(other); }).find("salt"), std::string::npos);
}

TEST(Seal, SizeSaysNothingOfTheTruth) {
  Json longer = kTruth;
  longer["more"] = std::string(100000, 'x');
  const SealKey key = SealKey::random();
  EXPECT_EQ(seal(with_salt(kTruth), key).size(), seal(with_salt(longer), key).size());
}

TEST(Seal, EveryDamageIsAnError) {
  const SealKey key = SealKey::random();
  const std::string box = seal(with_salt(kTruth), key);
  const auto message = [&](const std::string& bytes, const SealKey& with) {
    return error_of([&] { open_seal(bytes, with, "sealed.box"); });
  };
  EXPECT_NE(message(box, SealKey::random()).find("sealed.box does not open"), std::string::npos);
  EXPECT_NE(message(box.substr(0, box.size() / 2), key).find("sealed.box was cut"), std::string::npos);
  EXPECT_NE(message(box.substr(0, 20), key).find("was cut"), std::string::npos);
  EXPECT_NE(message("", key).find("no sealed box"), std::string::npos);
  for (const std::size_t at : {std::size_t{13}, std::size_t{40}, std::size_t{60}, box.size() - 1}) {
    std::string changed = box;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    EXPECT_NE(message(changed, key).find("does not open"), std::string::npos) << at;
  }
}

TEST(Seal, KeyFiles) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "key";
  const SealKey key = SealKey::random();
  key.write(file);
  struct stat about {};
  ASSERT_EQ(::stat(file.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  EXPECT_EQ(SealKey::read(file).bytes(), key.bytes());
  EXPECT_NE(error_of([&] { key.write(file); }).find("File exists"), std::string::npos);
  write_text(folder.path() / "other", "0123456789abcdef\n");
  EXPECT_NE(error_of([&] { SealKey::read(folder.path() / "other"); }).find("is no key"), std::string::npos);
  EXPECT_NE(error_of([&] { SealKey::read(folder.path() / "none"); }), "");
}

// The vector of "abc" in RFC 7693's sibling for 256 bits, as b2sum -l 256 prints it.
TEST(Seal, Blake2b) { EXPECT_EQ(blake2b("abc"), "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"); }

}  // namespace
}  // namespace assay
