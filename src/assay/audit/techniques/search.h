#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "assay/audit/techniques/evidence.h"

namespace assay {

struct SearchOptions {
  Match match = Match::all_words;
  std::int64_t limit = 10;
};

/// Keyword search over the documents that the target was trained on; needs data access. One piece of evidence a hit, best first: prompt =
/// the query, output = the document, where = its number, score = bm25.
std::vector<Evidence> search_documents(Access& access, const std::vector<std::string>& queries, const SearchOptions& options,
                                       const std::optional<std::filesystem::path>& file);
/// Queries for a first look.
const std::vector<std::string>& search_queries();

}  // namespace assay
