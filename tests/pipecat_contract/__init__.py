"""Tests of the behaviour that Pipecat's processors expect from a transport.

The scenarios run on `AudioHookTransport`, on this package's serializer in Pipecat's own transport,
and on Pipecat's serializer, with a real pipeline over a real WebSocket. The tests check the audio
that the caller heard, the recording, the context, and the times of the frames.
"""
