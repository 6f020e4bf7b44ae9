#pragma once
#include <cstddef>
#include <string_view>

namespace assay {

/// Code points of a UTF-8 text.
std::size_t code_points(std::string_view text);
/// Without white space at the end, or at both ends, as Python's str.rstrip and str.strip do (Unicode's white space and U+001C..U+001F).
std::string_view rstrip(std::string_view text);
std::string_view strip(std::string_view text);

}  // namespace assay
