#pragma once
#include <string>

#include "assay/base/error.h"

namespace assay {

/// What the Error says that `work` ends with, its operation and hint included; "no error" where it ends without one.
template <class Work>
std::string error_of(const Work& work) {
  try {
    work();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace assay
