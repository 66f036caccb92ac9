"""The frame of the page about a drill. It is a module, so that the one-file plugin has it too."""

from typing import Final

TEMPLATE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 860px; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
h1 { margin-bottom: 0; }
h2 { margin-top: 2rem; border-bottom: 1px solid #d8dee8; }
.subtitle { color: #5a6675; margin-top: 0; }
.verdict { padding: .8rem 1rem; border-left: 5px solid; font-size: 1.1rem; }
.verdict.good { border-color: #1a7f4b; background: #eaf6ef; }
.verdict.bad { border-color: #b3261e; background: #fbeceb; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .2rem .5rem; border-bottom: 1px solid #e6eaf0; }
th, td { vertical-align: top; }
td { overflow-wrap: anywhere; }
.word { white-space: nowrap; }
.wide { overflow-x: auto; }
.number { text-align: right; white-space: nowrap; }
.bad td, p.bad { color: #b3261e; }
svg { width: 100%; }
svg text { font-size: 12px; fill: #5a6675; }
.planned { fill: #7c93b5; background: #7c93b5; }
.real { fill: #1a7f4b; background: #1a7f4b; }
.key { display: inline-block; width: .8rem; height: .5rem; margin: 0 .3rem 0 .8rem; }
@media print {
  body { margin: 0; max-width: none; }
  tr, svg { break-inside: avoid; }
  thead { display: table-header-group; }
}
</style>
</head>
<body>
<h1>$title</h1>
<p class="subtitle">$subtitle</p>
<p class="verdict $tone">$verdict</p>
$planned
$halted
<h2>When each pod leaves and is Ready elsewhere</h2>
<p><span class="key planned"></span>planned<span class="key real"></span>real</p>
$picture
<h2>Breakers</h2>
<table>$timeline</table>
<h2>Stranded pods</h2>
$stranded
<h2>All pods</h2>
<div class="wide">
<table>
<thead><tr>
<th>pod</th><th class="number">accelerators</th><th class="number">leaves</th><th>runs on</th>
<th class="number">Ready</th>$really
</tr></thead>
<tbody>$pods</tbody>
</table>
</div>
<h2>Spending</h2>
$cost
<h2>To know</h2>
<ul>$notes</ul>
</body>
</html>
"""
