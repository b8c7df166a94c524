"""Pipecat's own parts around `AudioHookTransport`, each in a real pipeline over a real WebSocket.

The page `docs/with-pipecat.md` has a row for each. None needs a key or a download.
"""
