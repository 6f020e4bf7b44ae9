#include "assay/report/html.h"

#include <algorithm>
#include <cstdio>

#include "assay/report/style.h"

namespace assay::html {

std::string escape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string element(std::string_view tag, std::string_view cls, std::string_view content) {
  std::string out = "<" + std::string(tag);
  if (!cls.empty()) out += " class=\"" + std::string(cls) + "\"";
  return out + ">" + std::string(content) + "</" + std::string(tag) + ">\n";
}

std::string table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows,
                  const std::vector<std::size_t>& numeric, const std::vector<std::size_t>& groups) {
  const auto is_numeric = [&](std::size_t column) { return std::find(numeric.begin(), numeric.end(), column) != numeric.end(); };
  std::string out = "<div class=\"scroll\"><table><thead><tr>";
  for (std::size_t i = 0; i < head.size(); ++i)
    out += std::string("<th") + (is_numeric(i) ? " class=\"num\"" : "") + ">" + head[i] + "</th>";
  out += "</tr></thead><tbody>\n";
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto& row = rows[r];
    out += std::find(groups.begin(), groups.end(), r) == groups.end() ? "<tr>" : "<tr class=\"group\">";
    for (std::size_t i = 0; i < row.size(); ++i)
      out += std::string("<td") + (is_numeric(i) ? " class=\"num\"" : "") + ">" + row[i] + "</td>";
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string page(std::string_view title, std::string_view body) {
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, "
         "initial-scale=1\">\n<title>" +
         escape(title) + "</title>\n<style>\n" + std::string(kReportStyle) + "</style></head>\n<body><main>\n" + std::string(body) +
         "</main></body></html>\n";
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

}  // namespace assay::html
