#pragma once
#include <string>

#include "assay/base/error.h"

namespace assay {

/// A submission that does not keep to the schema; `where` is the field.
[[noreturn]] inline void refuse(const std::string& where, const std::string& message, const std::string& hint = {}) {
  throw Error("submission", where + " " + message, hint);
}

}  // namespace assay
