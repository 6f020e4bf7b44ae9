#include "assay/base/json.h"

#include "assay/base/files.h"

namespace assay {

Json parse_json(std::string_view text, std::string_view where) {
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& e) {
    throw Error("json", std::string(where) + " is not valid JSON: " + e.what());
  }
}

std::string dump(const Json& value, int indent) { return value.dump(indent, ' ', false, Json::error_handler_t::replace); }

}  // namespace assay
