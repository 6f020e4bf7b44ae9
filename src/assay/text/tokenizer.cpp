#include "assay/text/tokenizer.h"

#include "assay/base/files.h"
#include "assay/text/bridge.h"

namespace assay {

struct Tokenizer::Impl {
  Impl(std::string text, const std::string& where) : json(std::move(text)) {
    try {
      bridge::check("tokenizer load", where,
                    [&](AssayText* error) { return assay_tokenizer_new(json.data(), json.size(), &handle, error); });
    } catch (const Error& e) {
      throw Error(e.operation(), e.message(), "expected a tokenizer.json as the library 'tokenizers' writes it");
    }
  }
  ~Impl() { assay_tokenizer_free(handle); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  std::string json;
  AssayTokenizer* handle = nullptr;
};

namespace {

constexpr const char* kEncode = "tokenize";
constexpr const char* kDecode = "detokenize";

/// Frees an encoding of the bridge on every way out.
struct RawEncoding {
  RawEncoding() = default;
  ~RawEncoding() { assay_encoding_free(raw); }
  RawEncoding(const RawEncoding&) = delete;
  RawEncoding& operator=(const RawEncoding&) = delete;
  AssayEncoding raw{};
};

void run(const AssayTokenizer* handle, std::string_view first, const std::string_view* second, bool add_special, bool full,
         RawEncoding& out) {
  // An empty second sentence is still a pair, so it needs an address.
  const char* second_data = second == nullptr ? nullptr : (second->empty() ? "" : second->data());
  bridge::check(kEncode, "", [&](AssayText* error) {
    return assay_tokenizer_encode(handle, first.data(), first.size(), second_data, second == nullptr ? 0 : second->size(), add_special,
                                  full, &out.raw, error);
  });
}

Encoding unpack(const AssayEncoding& raw) {
  Encoding result;
  result.ids.assign(raw.ids, raw.ids + raw.count);
  result.type_ids.assign(raw.type_ids, raw.type_ids + raw.count);
  result.tokens.reserve(raw.count);
  result.offsets.reserve(raw.count);
  for (std::size_t i = 0, begin = 0; i < raw.count; begin = raw.token_ends[i++]) {
    result.tokens.emplace_back(raw.tokens.data + begin, raw.token_ends[i] - begin);
    result.offsets.emplace_back(raw.offsets[2 * i], raw.offsets[2 * i + 1]);
  }
  return result;
}

}  // namespace

Tokenizer Tokenizer::from_json(std::string_view text, std::string_view where) {
  return Tokenizer(std::make_shared<const Impl>(std::string(text), std::string(where)));
}

Tokenizer Tokenizer::from_file(const std::filesystem::path& tokenizer_json) {
  return Tokenizer(std::make_shared<const Impl>(read_text(tokenizer_json), tokenizer_json.string()));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special) const {
  RawEncoding out;
  run(impl_->handle, text, nullptr, add_special, false, out);
  return {out.raw.ids, out.raw.ids + out.raw.count};
}

Encoding Tokenizer::encode_full(std::string_view text, bool add_special) const {
  RawEncoding out;
  run(impl_->handle, text, nullptr, add_special, true, out);
  return unpack(out.raw);
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second, bool add_special) const {
  RawEncoding out;
  run(impl_->handle, first, &second, add_special, true, out);
  return unpack(out.raw);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  static_assert(sizeof(TokenId) == sizeof(std::uint32_t));
  // A negative id becomes a huge one, which no vocabulary has; the message would name the wrong number, so it is caught here.
  for (const TokenId id : ids) {
    if (id < 0) throw Error(kDecode, "the id " + std::to_string(id) + " is negative");
  }
  bridge::Text out;
  bridge::check(kDecode, "", [&](AssayText* error) {
    return assay_tokenizer_decode(impl_->handle, reinterpret_cast<const std::uint32_t*>(ids.data()), ids.size(), skip_special, out.out(),
                                  error);
  });
  return out.str();
}

std::optional<TokenId> Tokenizer::id_of(std::string_view token) const {
  const std::int64_t id = assay_tokenizer_id(impl_->handle, token.data(), token.size());
  if (id < 0) return std::nullopt;
  return static_cast<TokenId>(id);
}

std::string Tokenizer::token_of(TokenId id) const {
  if (id < 0) throw Error(kDecode, "the id " + std::to_string(id) + " is negative");
  bridge::Text out;
  bridge::check(kDecode, "",
                [&](AssayText* error) { return assay_tokenizer_token(impl_->handle, static_cast<std::uint32_t>(id), out.out(), error); });
  return out.str();
}

std::int64_t Tokenizer::vocabulary_size() const { return static_cast<std::int64_t>(assay_tokenizer_size(impl_->handle)); }

const std::string& Tokenizer::json() const { return impl_->json; }

}  // namespace assay
