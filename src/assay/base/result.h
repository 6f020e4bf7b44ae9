#pragma once
#include <cassert>
#include <string>
#include <utility>
#include <variant>

#include "assay/base/error.h"

namespace assay {

/// Why an expected outcome did not come: the same three parts as an Error.
struct Failure {
  std::string operation, message, hint;
};

/// A value or a Failure, for outcomes that are expected to fail now and then (user text, HTTP bodies). Method names follow std::expected.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Failure failure) : state_(std::in_place_index<1>, std::move(failure)) {}

  [[nodiscard]] bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  [[nodiscard]] const Failure& error() const {
    assert(!has_value());
    return std::get<1>(state_);
  }
  /// The value; throws the failure as an Error where there is none.
  T& value() & {
    require();
    return std::get<0>(state_);
  }
  const T& value() const& {
    require();
    return std::get<0>(state_);
  }
  T&& value() && {
    require();
    return std::get<0>(std::move(state_));
  }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }

 private:
  void require() const {
    if (!has_value()) throw Error(error().operation, error().message, error().hint);
  }
  std::variant<T, Failure> state_;
};

}  // namespace assay
