"""Pipecat's contract with the processors around a transport, on three transports.

Each scenario runs on `AudioHookTransport`, on this package's serializer in Pipecat's own transport,
and on Pipecat's serializer, with a real pipeline over a real WebSocket. It is judged by what the
caller heard, what a recording or a context holds, and which frames came when.
"""
