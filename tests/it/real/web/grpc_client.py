"""A gRPC client: one call, or every kind of call with all that must come through.

    grpc_client.py ADDRESS CA CALL ARGUMENT     one call; prints the answer
    grpc_client.py ADDRESS CA all               prints a line for each thing that held

CA is a file, or - for cleartext.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

address, ca, call = sys.argv[1:4]
PATIENCE = 20
# A proxy in the environment is none of ours.
limits = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
if ca == "-":
    channel = grpc.insecure_channel(address, limits)
else:
    channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(open(ca, "rb").read()), limits)


def method(kind, name):
    return getattr(channel, kind)(f"/test.Echo/{name}")


unary = method("unary_unary", "Unary")


def calls_of_every_kind():
    answer, done = unary.with_call(b"hello", metadata=(("x-asked", "why"),), timeout=PATIENCE)
    assert answer == b"hello"
    assert ("x-begin", "why") in [tuple(pair) for pair in done.initial_metadata()]
    end = dict(done.trailing_metadata())
    assert end["x-end"] == "1" and end["x-raw-bin"] == bytes(range(8)), end
    print("unary, with fields at both ends")

    assert list(method("unary_stream", "Down")(b"1000", timeout=PATIENCE)) == [b"%d" % n for n in range(1000)]
    print("a stream down")

    large = b"x" * 100_000
    assert method("stream_unary", "Up")(iter([large] * 50), timeout=PATIENCE) == b"5000000"
    print("a stream up")

    # Each message waits for the answer to the one before it: nothing on the way may hold one back.
    turn, answers = threading.Semaphore(1), []

    def messages():
        for number in range(100):
            assert turn.acquire(timeout=PATIENCE)
            yield b"word %d" % number

    for answer in method("stream_stream", "Both")(messages(), timeout=PATIENCE):
        answers.append(answer)
        turn.release()
    assert answers == [b"WORD %d" % number for number in range(100)]
    print("a conversation")

    empty, huge = b"", bytes(range(256)) * 16384
    assert unary(empty, timeout=PATIENCE) == empty and unary(huge, timeout=PATIENCE) == huge
    print("messages of 0 and of 4 MiB")


def failures():
    try:
        method("unary_unary", "Fail")(b"", timeout=PATIENCE)
        raise AssertionError("it went well")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == "not today: ä", error
        assert ("x-end", "2") in [tuple(pair) for pair in error.trailing_metadata()]
    print("a failure, with its words and fields")

    try:
        method("unary_unary", "Missing")(b"", timeout=PATIENCE)
        raise AssertionError("it went well")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    print("a call that nobody knows")

    try:
        method("unary_unary", "Stall")(b"", timeout=0.5)
        raise AssertionError("it went well")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert method("unary_unary", "Stalled")(b"", timeout=2 * PATIENCE) == b"yes"
    print("a deadline, which the server hears of")


def crowd():
    with ThreadPoolExecutor(16) as pool:
        words = [b"%d" % number for number in range(400)]
        assert list(pool.map(lambda word: unary(word, timeout=PATIENCE), words)) == words
    print("many calls at once")


if call == "all":
    calls_of_every_kind()
    failures()
    crowd()
else:
    print(method("unary_unary", call)(sys.argv[4].encode(), timeout=PATIENCE).decode())
