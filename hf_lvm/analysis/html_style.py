"""How a report looks: dark on light, one column, wide things scroll by themselves."""

STYLE = """
:root { color-scheme: light; --ink: #1d2329; --soft: #5b6570; --line: #e3e7ec; --tint: #f5f7fa;
  --blue: #0072b2; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 4rem; }
body { margin: 0; background: #eef1f5; color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", Arial, "DejaVu Sans",
    sans-serif; }
header, main, footer { max-width: 68rem; margin: 0 auto; padding: 0 2rem; }
header { padding-top: 3rem; }
header p.kind { margin: 0; color: var(--blue); font-weight: 600; font-size: .85rem; letter-spacing: .08em;
  text-transform: uppercase; }
h1 { margin: .1rem 0 .4rem; font-size: 2.3rem; line-height: 1.2; letter-spacing: -.02em; overflow-wrap: anywhere; }
header p.about { margin: 0 0 1.4rem; color: var(--soft); max-width: 56rem; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem; margin: 0; }
.tiles div { background: #fff; border: 1px solid var(--line); border-top: 3px solid var(--blue); border-radius: 8px;
  padding: .8rem 1rem .9rem; display: flex; flex-direction: column; }
.tiles dt { color: var(--soft); font-size: .82rem; order: 0; }
.tiles dd { margin: 0; }
.tiles dd.value { font-size: 1.65rem; line-height: 1.35; font-weight: 650; font-variant-numeric: tabular-nums;
  letter-spacing: -.01em; }
.tiles dd.unit { color: var(--soft); font-size: .8rem; line-height: 1.35; }
nav { position: sticky; top: 0; z-index: 1; background: rgba(238, 241, 245, .94); border-bottom: 1px solid var(--line);
  margin-top: 1.6rem; }
nav ul { max-width: 68rem; margin: 0 auto; padding: .55rem 2rem; list-style: none; display: flex; flex-wrap: wrap;
  gap: .2rem 1.4rem; }
nav a { color: var(--soft); text-decoration: none; font-size: .92rem; font-weight: 550; }
nav a:hover, nav a:focus { color: var(--blue); text-decoration: underline; }
main > section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 1.5rem 1.8rem 1.7rem;
  margin: 1.3rem 0; }
h2 { margin: 0 0 .9rem; font-size: 1.4rem; letter-spacing: -.01em; }
h3 { margin: 1.6rem 0 .5rem; font-size: 1.06rem; }
h4, h5, h6 { margin: 1.1rem 0 .35rem; font-size: .95rem; color: var(--soft); }
h3::first-letter, h4::first-letter, h5::first-letter { text-transform: uppercase; }
h2 + h3, h2 + section > h3 { margin-top: 0; }
p.note { margin: -.5rem 0 1rem; color: var(--soft); font-size: .93rem; max-width: 50rem; }
.group .group { padding-left: .9rem; border-left: 2px solid var(--line); margin-top: .8rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; line-height: 1.45; }
table.measures { width: 100%; }
th, td { text-align: left; padding: .36rem 1.1rem .36rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  font-variant-numeric: tabular-nums; }
tbody tr:last-child > * { border-bottom: 0; }
tbody tr:hover > * { background: var(--tint); }
thead th { color: var(--soft); font-weight: 600; border-bottom: 2px solid #cfd6de; vertical-align: bottom; }
tbody th { font-weight: 500; }
td.number, th.number { text-align: right; white-space: nowrap; }
table.plain th { min-width: 17rem; }
table.plain td.number, th.number { text-align: left; }
table.measures th { min-width: 12rem; }
table.measures td:nth-child(2) { white-space: nowrap; font-weight: 650; text-align: left; }
table.measures td:nth-child(3) { color: var(--soft); }
table.measures th.part { padding-left: 1.1rem; color: var(--soft); }
table.texts { table-layout: fixed; width: 100%; min-width: 42rem; }
table.texts td, table.texts th { width: 50%; overflow-wrap: anywhere; padding: .5rem 1.2rem .5rem 0; font-weight: 400; }
table.texts th { font-weight: 400; }
table.texts thead th { font-weight: 600; }
mark { background: #dcedf8; color: inherit; border-radius: 3px; padding: 0 .12em; }
.many { display: flex; align-items: center; gap: .8rem; color: var(--blue); }
.many span { color: var(--soft); font-size: .85rem; }
.share { display: inline-block; height: .55rem; border-radius: 2px; background: var(--blue); margin-right: .5rem; }
div.figures { display: flex; flex-wrap: wrap; gap: 1.8rem 2rem; align-items: flex-end; justify-content: space-around; }
figure { margin: 0 0 1.6rem; max-width: 100%; }
div.figures figure { margin: 0; }
div.figures figcaption { text-align: center; margin-left: auto; margin-right: auto; max-width: 36rem; }
figure:last-child { margin-bottom: 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figure.tree img { max-width: none; max-height: 24rem; width: auto; margin: 0; }
figure.tree .scroll { border: 1px solid var(--line); border-radius: 8px; padding: 1rem; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .5rem; max-width: 50rem; }
ul.samples, ol.path { margin: 0 0 1rem; padding: 0; list-style: none; }
ul.samples li { padding: .32rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
ul.samples li:last-child { border-bottom: 0; }
ol.path li { padding: .3rem 0 .3rem 1rem; border-left: 4px solid var(--blue); overflow-wrap: anywhere; }
pre { margin: .4rem 0 0; background: var(--tint); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1.1rem;
  overflow: auto; max-height: 36rem; font-size: .83rem; line-height: 1.45; }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; }
pre, code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--blue); font-weight: 550; font-size: .93rem; padding: .25rem 0; }
footer { color: var(--soft); font-size: .85rem; padding-top: .4rem; padding-bottom: 3rem; }
@media (max-width: 44rem) {
  header, main, footer, nav ul { padding-left: 1rem; padding-right: 1rem; }
  main > section { padding: 1.1rem 1rem; border-radius: 8px; }
  h1 { font-size: 1.7rem; }
  table.plain th { min-width: 9rem; }
}
@media print {
  body { background: #fff; }
  nav { display: none; }
  main > section { border: 0; padding: 0; break-inside: auto; }
  figure, tr { break-inside: avoid; }
  pre { max-height: none; white-space: pre-wrap; }
}
"""
