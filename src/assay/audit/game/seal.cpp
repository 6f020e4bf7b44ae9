#include "assay/audit/game/seal.h"

#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "assay/base/files.h"

namespace assay {
namespace {

constexpr std::string_view kMagic = "assay-box-1\n";
constexpr std::size_t kPadding = 1u << 20;

static_assert(SealKey::kBytes == crypto_secretbox_KEYBYTES);

void start_sodium() {
  if (sodium_init() < 0) throw Error("seal", "libsodium does not start: the system gives no random bytes");
}

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

template <class Bytes>
std::string hex(const Bytes& bytes) {
  std::string out(2 * bytes.size() + 1, '\0');
  sodium_bin2hex(out.data(), out.size(), bytes.data(), bytes.size());
  out.pop_back();
  return out;
}

/// Exactly `size` bytes in hexadecimal, or nothing.
bool unhex(std::string_view text, unsigned char* out, std::size_t size) {
  std::size_t length = 0;
  return text.size() == 2 * size && sodium_hex2bin(out, size, text.data(), text.size(), nullptr, &length, nullptr) == 0 && length == size;
}

}  // namespace

SealKey SealKey::random() {
  start_sodium();
  SealKey key;
  crypto_secretbox_keygen(key.bytes_.data());
  return key;
}

SealKey SealKey::derived(std::string_view text) {
  start_sodium();
  SealKey key;
  crypto_generichash(key.bytes_.data(), key.bytes_.size(), bytes_of(text), text.size(), nullptr, 0);
  return key;
}

SealKey SealKey::read(const fs::path& file) {
  start_sodium();
  std::string text = read_text(file);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.pop_back();
  SealKey key;
  if (!unhex(text, key.bytes_.data(), kBytes))
    throw Error("seal", file.string() + " is no key: a key is one line of 64 hexadecimal digits",
                "give the file that 'assay game new' wrote");
  return key;
}

void SealKey::write(const fs::path& file) const {
  // Whole under another name first, then linked: killed in between, there is no half key, and a key that is there is never replaced.
  const fs::path temporary = file.string() + "." + std::to_string(::getpid()) + ".new";
  const std::string text = hex(bytes_) + '\n';
  int code = 0;
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    code = errno;
  } else {
    if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()) || ::fsync(fd) != 0) code = errno;
    ::close(fd);
    if (code == 0 && ::link(temporary.c_str(), file.c_str()) != 0) code = errno;
    ::unlink(temporary.c_str());
  }
  if (code != 0) throw Error("seal", "cannot write the key " + file.string() + ": " + std::strerror(code));
}

Sealed with_salt(Json truth) {
  start_sodium();
  std::array<unsigned char, crypto_generichash_KEYBYTES> salt{};
  randombytes_buf(salt.data(), salt.size());
  return {std::move(truth), hex(salt)};
}

std::string commitment(const Sealed& sealed) {
  start_sodium();
  std::array<unsigned char, crypto_generichash_KEYBYTES> salt{};
  if (!unhex(sealed.salt, salt.data(), salt.size())) throw Error("seal", "the salt of the truth is not 64 hexadecimal digits");
  const std::string text = dump(sealed.truth);
  std::array<unsigned char, crypto_generichash_BYTES> hash{};
  crypto_generichash(hash.data(), hash.size(), bytes_of(text), text.size(), salt.data(), salt.size());
  return hex(hash);
}

std::string seal(const Sealed& sealed, const SealKey& key) {
  start_sodium();
  std::string plain = dump(Json{{"salt", sealed.salt}, {"truth", sealed.truth}});
  plain.resize((plain.size() / kPadding + 1) * kPadding, ' ');
  std::string box(kMagic);
  box.resize(kMagic.size() + crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES + plain.size());
  auto* nonce = reinterpret_cast<unsigned char*>(box.data()) + kMagic.size();
  randombytes_buf(nonce, crypto_secretbox_NONCEBYTES);
  crypto_secretbox_easy(nonce + crypto_secretbox_NONCEBYTES, bytes_of(plain), plain.size(), nonce, key.bytes().data());
  return box;
}

Sealed open_seal(std::string_view box, const SealKey& key, const std::string& where) {
  start_sodium();
  constexpr std::size_t kHead = kMagic.size() + crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES;
  if (!box.starts_with(kMagic)) throw Error("seal", where + " is no sealed box");
  if (box.size() <= kHead || (box.size() - kHead) % kPadding != 0)
    throw Error("seal", where + " was cut: it has " + std::to_string(box.size()) + " bytes, which is no size of a box");
  const unsigned char* nonce = bytes_of(box) + kMagic.size();
  std::string plain(box.size() - kHead, '\0');
  if (crypto_secretbox_open_easy(reinterpret_cast<unsigned char*>(plain.data()), nonce + crypto_secretbox_NONCEBYTES,
                                 box.size() - kMagic.size() - crypto_secretbox_NONCEBYTES, nonce, key.bytes().data()) != 0)
    throw Error("seal", where + " does not open: the key is another game's, or the box was changed",
                "give the key file that 'assay game new' named when it made this game");
  const Json json = parse_json(plain, where);
  return {require<Json>(json, "truth", where), require<std::string>(json, "salt", where)};
}

std::string blake2b(std::string_view bytes) {
  start_sodium();
  std::array<unsigned char, crypto_generichash_BYTES> hash{};
  crypto_generichash(hash.data(), hash.size(), bytes_of(bytes), bytes.size(), nullptr, 0);
  return hex(hash);
}

std::uint64_t random_seed() {
  start_sodium();
  std::uint64_t seed = 0;
  randombytes_buf(&seed, sizeof seed);
  return seed >> 12;  // JSON readers keep 52 bits
}

}  // namespace assay
