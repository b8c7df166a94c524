"""Tests of Pipecat's processors and tools with `AudioHookTransport` over a real WebSocket.

The page `docs/with-pipecat.md` has a row for each part. No test needs an API key or a download.
"""
