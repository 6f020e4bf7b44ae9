#pragma once
#include <string_view>

namespace assay {

/// The report's only style sheet; follows the reader's light or dark setting and prints.
inline constexpr std::string_view kReportStyle = R"css(
:root { --ink:#1c2024; --soft:#5b6470; --line:#dfe3e8; --paper:#ffffff; --band:#f6f7f9; --accent:#c2410c; --good:#15803d; --bad:#b91c1c; --planted:#fde68a; }
@media (prefers-color-scheme: dark) {
  :root { --ink:#e7eaee; --soft:#9aa4b0; --line:#30363d; --paper:#14171b; --band:#1b2026; --accent:#fb923c; --good:#4ade80; --bad:#f87171; --planted:#713f12; }
}
* { box-sizing: border-box; }
body { margin:0; background:var(--paper); color:var(--ink); font:16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width:1080px; margin:0 auto; padding:40px 24px 80px; }
h1 { font-size:31px; line-height:1.2; margin:0 0 6px; letter-spacing:-.01em; }
h2 { font-size:21px; margin:52px 0 6px; padding-top:14px; border-top:2px solid var(--ink); }
h3 { font-size:16px; margin:26px 0 4px; }
p { margin:8px 0 12px; max-width:76ch; }
.lede { font-size:18px; color:var(--soft); max-width:76ch; }
.soft, .caption { color:var(--soft); font-size:14px; }
.caption { margin:4px 0 16px; } .wide { max-width:none; overflow-wrap:anywhere; }
.cards { display:grid; grid-template-columns:repeat(auto-fit, minmax(225px, 1fr)); gap:12px; margin:22px 0 8px; }
.card { background:var(--band); border:1px solid var(--line); border-radius:10px; padding:14px 16px; }
.card .value { font-size:29px; font-weight:650; letter-spacing:-.02em; font-variant-numeric:tabular-nums; }
.card .value small { font-size:14px; font-weight:400; color:var(--soft); letter-spacing:0; }
.card .label { font-size:14px; color:var(--soft); line-height:1.35; }
.rung { display:flex; gap:4px; margin:18px 0 4px; flex-wrap:wrap; }
.rung span { padding:5px 12px; border:1px solid var(--line); border-radius:999px; color:var(--soft); font-size:14px; }
.rung span.reached { background:var(--accent); border-color:var(--accent); color:#fff; font-weight:600; }
.scroll { overflow-x:auto; }
table { border-collapse:collapse; width:100%; font-size:14px; font-variant-numeric:tabular-nums; margin:8px 0 6px; }
th { text-align:left; font-weight:600; border-bottom:1.5px solid var(--ink); padding:6px 10px 6px 0; vertical-align:bottom; }
td { border-bottom:1px solid var(--line); padding:6px 10px 6px 0; vertical-align:top; }
th.num, td.num { text-align:right; }
.good { color:var(--good); font-weight:600; } .bad { color:var(--bad); font-weight:600; }
tr.group td { border-top:1.5px solid var(--soft); }
.nowrap { white-space:nowrap; } h2 + svg { margin-top:14px; }
td svg { margin:3px 0 1px; }
.chip { display:inline-block; color:#fff; border-radius:999px; padding:0 9px; font-size:12.5px; line-height:1.6; white-space:nowrap; }
svg .track { fill:var(--line); }
svg { display:block; max-width:100%; height:auto; margin:10px 0 2px; }
svg text { font:13px system-ui, sans-serif; fill:var(--ink); } svg text.soft { fill:var(--soft); font-size:12px; }
svg .grid { stroke:var(--line); } svg .axis { stroke:var(--soft); }
.quote { border-left:3px solid var(--line); padding:4px 0 4px 14px; margin:10px 0 14px; }
.quote .who { font-size:13px; color:var(--soft); }
.quote .said { font-family:ui-monospace, SFMono-Regular, Menlo, monospace; font-size:14px; white-space:pre-wrap; overflow-wrap:anywhere; }
mark { background:var(--planted); color:inherit; padding:0 2px; border-radius:3px; }
code, pre { font-family:ui-monospace, SFMono-Regular, Menlo, monospace; font-size:13px; }
pre { background:var(--band); border:1px solid var(--line); border-radius:8px; padding:12px 14px; overflow-x:auto; }
details { margin:10px 0; } summary { cursor:pointer; color:var(--soft); }
@media print { main { max-width:none; padding:0; } h2 { break-after:avoid; } svg, table { break-inside:avoid; } }
)css";

}  // namespace assay
