"""The style sheet of an audit's page, for a screen of any width and for paper of any size. ASCII only."""

from typing import Final

STYLE: Final = """
:root { --ink: #1b1f26; --soft: #545d6a; --line: #c9ced6; --used: #1f5fa8; --bad: #a31621; --bad-ground: #fbdfe0;
  --good: #1c6b34; --made: #7a4b00; --made-ground: #fff6dd; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 36px 0 10px; }
p { margin: 0 0 10px; max-width: 90ch; }
h1, h2, p, li, figcaption { overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.verdict { border-left: 5px solid var(--good); padding: 2px 0 2px 14px; margin: 20px 0; }
.verdict.alarming { border-color: var(--bad); }
.verdict p { margin: 4px 0; }
.verdict p:first-child { font-size: 20px; line-height: 1.35; font-weight: 650; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin: 0; padding: 0;
  list-style: none; }
.facts li { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; color: var(--soft); }
.facts b { display: block; font-size: 22px; line-height: 1.2; color: var(--ink); }
.checks { margin: 0; padding: 0; list-style: none; }
.checks li { display: grid; grid-template-columns: 84px 1fr; gap: 2px 12px; padding: 8px 0;
  border-top: 1px solid var(--line); }
.checks .result { font-weight: 650; color: var(--good); white-space: nowrap; }
.checks .failed .result { color: var(--bad); }
.checks p { margin: 0; }
.checks .remedy { color: var(--soft); }
.provider { margin: 0 0 16px; }
.region { margin: 4px 0 0; }
p.bar { margin: 0 0 2px; max-width: none; }
.region p.bar { font-size: 13px; margin: 0 0 0 20px; }
p.bar span { color: var(--soft); }
svg { display: block; }
svg.patterns { position: absolute; }
svg text { fill: var(--ink); font: 13px system-ui, "Segoe UI", Roboto, sans-serif; }
svg text.name { font-weight: 650; }
rect.used, rect.held { fill: var(--used); }
rect.free { fill: #fff; stroke: var(--soft); stroke-width: 2; }
rect.bad, rect.stranded { fill: url(#hatched); }
rect.now { fill: var(--used); }
rect.made { fill: url(#dotted); stroke: var(--made); }
.ribbon { opacity: .3; fill: var(--used); }
.ribbon.made { fill: var(--made); }
.ribbon.stranded { fill: var(--bad); }
.ground-bad { fill: var(--bad-ground); }
.ink-bad { fill: var(--bad); }
.ground-made { fill: var(--made-ground); }
.ink-made { fill: var(--made); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 8px 0 14px; padding: 0; list-style: none;
  font-size: 13px; color: var(--soft); }
.legend svg { display: inline-block; vertical-align: -1px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 24px 36px; }
figure { margin: 0; }
figcaption { margin: 0 0 6px; }
.box { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 5px 14px 5px 0; border-top: 1px solid var(--line); }
thead th { border-top: 0; border-bottom: 2px solid var(--soft); vertical-align: bottom; color: var(--soft); }
tbody th { font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.brief, .number { white-space: nowrap; }
.long { min-width: 26ch; overflow-wrap: anywhere; }
th.list { font-weight: 400; }
.few td.long:last-child { min-width: 36ch; }
tr.alarming th, tr.alarming .number:last-of-type { color: var(--bad); }
.notes { margin: 10px 0 0; padding-left: 20px; }
@media print {
  @page { margin: 14mm 12mm; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  :root { --ink: #000; --soft: #333; --line: #999; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 17pt; }
  h2 { font-size: 13pt; margin: 18pt 0 6pt; }
  p { max-width: none; }
  .verdict p:first-child { font-size: 13pt; }
  .facts { grid-template-columns: repeat(4, 1fr); }
  .facts li { padding: 5pt 8pt; }
  .facts b { font-size: 13pt; }
  h2, p.bar, .legend, .soft:has(+ .legend), figcaption, thead { break-after: avoid; }
  tr, figure, .provider, .checks li, .facts, .verdict, .legend, svg { break-inside: avoid; }
  thead { display: table-header-group; }
  section.large { break-before: page; }
  .figures { grid-template-columns: 1fr 1fr; gap: 14pt 20pt; }
  .box { overflow: visible; }
  table { font-size: 8pt; }
  th, td { padding: 3pt 5pt 3pt 0; }
  td.brief { white-space: normal; }
  td.long { min-width: 9ch; }
  th.long { min-width: 14ch; }
  td.long:last-child { min-width: 18ch; }
  .few td.long:last-child { min-width: 34ch; }
}
"""
