#pragma once
#include <optional>
#include <string>

#include "assay/base/error.h"

namespace assay {

/// The Error that `work` ends with, if it does.
template <class Work>
std::optional<Error> thrown_by(const Work& work) {
  try {
    work();
  } catch (const Error& e) {
    return e;
  }
  return std::nullopt;
}

/// Its whole text, operation and hint included; "" where the work ends without one.
template <class Work>
std::string error_of(const Work& work) {
  const auto error = thrown_by(work);
  return error ? error->what() : "";
}

/// Its message alone.
template <class Work>
std::string message_of(const Work& work) {
  const auto error = thrown_by(work);
  return error ? error->message() : "";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace assay
