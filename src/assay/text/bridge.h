#pragma once
#include <assay_bridge.h>

#include <string>
#include <utility>

#include "assay/base/error.h"

namespace assay::bridge {

/// Owns a text that the bridge made.
class Text {
 public:
  Text() = default;
  ~Text() { assay_text_free(raw_); }
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;
  [[nodiscard]] AssayText* out() { return &raw_; }
  [[nodiscard]] std::string str() const { return raw_.size == 0 ? std::string() : std::string(raw_.data, raw_.size); }

 private:
  AssayText raw_{};
};

/// Calls the bridge with a place for its error message; throws what it says.
template <class Call>
void check(const char* operation, const std::string& where, Call&& call) {
  Text error;
  if (std::forward<Call>(call)(error.out()) != 0) throw Error(operation, where.empty() ? error.str() : where + ": " + error.str());
}

}  // namespace assay::bridge
