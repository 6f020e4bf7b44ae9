#pragma once
#include <stdexcept>
#include <string>

namespace assay {

/// An operation that cannot go on. what() reads "[operation] what happened, what was expected (hint)".
class Error : public std::runtime_error {
 public:
  Error(std::string operation, std::string message, std::string hint = {})
      : std::runtime_error("[" + operation + "] " + message + (hint.empty() ? "" : " (" + hint + ")")),
        operation_(std::move(operation)),
        message_(std::move(message)),
        hint_(std::move(hint)) {}

  /// What was being done, for instance "model load".
  [[nodiscard]] const std::string& operation() const { return operation_; }
  /// What happened and what was expected; names the file, field or flag.
  [[nodiscard]] const std::string& message() const { return message_; }
  /// What the user can do about it; may be empty.
  [[nodiscard]] const std::string& hint() const { return hint_; }

 private:
  std::string operation_, message_, hint_;
};

/// Wrong usage of a command (exit code 2 instead of 1).
class UsageError : public Error {
 public:
  using Error::Error;
};

/// The user asked to stop (Ctrl-C). Thrown at a safe point, after state has been saved.
class Interrupted : public Error {
 public:
  explicit Interrupted(std::string operation) : Error(std::move(operation), "stopped on request", "run the same command again to go on") {}
};

}  // namespace assay
