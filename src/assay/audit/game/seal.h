#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "assay/base/json.h"

namespace assay {

/// The red team's key: what opens a game's box. In a file it is one line of 64 hexadecimal digits, readable by its owner alone.
class SealKey {
 public:
  static constexpr std::size_t kBytes = 32;
  static SealKey random();
  /// Made of a text: hides from the eye, and from nobody who has the text.
  static SealKey derived(std::string_view text);
  /// An Error where the file is missing or is no key.
  static SealKey read(const std::filesystem::path& file);
  /// Writes the file with mode 0600; one that is there already is an Error, never overwritten.
  void write(const std::filesystem::path& file) const;

  [[nodiscard]] const std::array<unsigned char, kBytes>& bytes() const { return bytes_; }

 private:
  SealKey() = default;
  std::array<unsigned char, kBytes> bytes_{};
};

/// What is hidden, with the salt that makes its hash say nothing: without one a truth that takes few values could be guessed and compared.
struct Sealed {
  Json truth;
  std::string salt;  ///< 64 hexadecimal digits
};
Sealed with_salt(Json truth);
/// BLAKE2b-256 of the truth, keyed with the salt, in hexadecimal: published when the game begins, checked when it ends.
std::string commitment(const Sealed& sealed);

/// A box of libsodium's secretbox (XSalsa20-Poly1305), padded to whole mebibytes so that its size says nothing.
std::string seal(const Sealed& sealed, const SealKey& key);
/// An Error of its own for what is no box, for a box that was cut, and for a wrong key or changed bytes (which nobody can tell apart).
/// `where` names the file.
Sealed open_seal(std::string_view box, const SealKey& key, const std::string& where);

/// BLAKE2b-256 in hexadecimal.
std::string blake2b(std::string_view bytes);
/// Unpredictable bytes, as a seed.
std::uint64_t random_seed();

}  // namespace assay
