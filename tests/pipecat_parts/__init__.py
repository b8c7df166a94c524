"""Tests of Pipecat's processors and tools with `AudioHookTransport` over a real WebSocket.

The page `docs/with-pipecat.md` shows how to use them. No test needs an API key or a download.
"""
