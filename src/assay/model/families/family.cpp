#include "assay/model/families/family.h"

#include "assay/base/error.h"

namespace assay {

const Family& family(std::string_view name, std::string_view where) {
  std::string known;
  for (const Family* f : {&families::kLlama, &families::kGpt2, &families::kGptNeo}) {
    if (f->name == name) return *f;
    known += (known.empty() ? "" : ", ") + std::string(f->name);
  }
  throw Error("model config", std::string(where) + ": model_type '" + std::string(name) + "' is not supported; expected one of " + known);
}

}  // namespace assay
