"""The inspector: a web page that shows, plays and replays calls.

The calls come from capture files, from a proxy in front of any AudioHook server, or from the
microphone of the browser. `Inspector` in `server` runs the page for one of these sources, and
`report_page` makes a page of one call that needs no server. `CallAnalysis` in `analysis` checks the
messages of the calls of all sources, and finds turns, latencies and gaps.

The web server needs the extra `inspector`. No module of this package imports pipecat.
"""
