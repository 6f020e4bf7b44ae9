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
/// The same by meaning: the documents nearest to each query; score = cosine. The access's documents need Corpus::grant_meaning.
std::vector<Evidence> search_by_meaning(Access& access, const std::vector<std::string>& queries, std::int64_t limit,
                                        const std::optional<std::filesystem::path>& file);
/// At most n different documents, drawn by `seed`; needs data access. where = a document's number. What `file` holds is neither read nor
/// charged again; a file of another draw is an Error.
std::vector<Evidence> random_documents(Access& access, std::int64_t n, std::uint64_t seed,
                                       const std::optional<std::filesystem::path>& file);
/// Queries for a first look.
const std::vector<std::string>& search_queries();

}  // namespace assay
