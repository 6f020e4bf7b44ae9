#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace assay::html {

/// Text made safe for HTML content and quoted attributes.
std::string escape(std::string_view text);
/// <tag class="cls">content</tag>; content is HTML.
std::string element(std::string_view tag, std::string_view cls, std::string_view content);
/// A table of HTML cells. Columns named in `numeric` are set flush right; a rule stands above each row named in `groups`.
std::string table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows,
                  const std::vector<std::size_t>& numeric = {}, const std::vector<std::size_t>& groups = {});
/// One self-contained page: styles inside, nothing is fetched.
std::string page(std::string_view title, std::string_view body);
/// "0.97", "97 %"...: a number with `digits` decimals.
std::string fixed(double value, int digits = 2);

}  // namespace assay::html
