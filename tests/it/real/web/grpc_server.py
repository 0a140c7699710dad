"""A gRPC server behind the balancer: every kind of call, trailers, deadlines, the health service.

Messages are bytes, so that no generated code is needed.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

given_up = threading.Semaphore(0)
checks = health.HealthServicer()


def unary(request, context):
    told = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-begin", told.get("x-asked", "")),))
    context.set_trailing_metadata((("x-end", "1"), ("x-raw-bin", bytes(range(8)))))
    return request


def down(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def up(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def both(requests, context):
    for request in requests:
        yield request.upper()


def fail(request, context):
    context.set_trailing_metadata((("x-end", "2"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: ä")


def stall(request, context):
    """Answers nobody: the client gives up, and that is heard of here."""
    over = threading.Event()
    context.add_callback(over.set)
    over.wait()
    given_up.release()
    return b""


def stalled(request, context):
    """Answers once somebody has given up."""
    return b"yes" if given_up.acquire(timeout=20) else b"no"


def serve(request, context):
    service, _, state = request.decode().partition("=")
    checks.set(service, getattr(health_pb2.HealthCheckResponse, state))
    return b""


calls = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Stall": grpc.unary_unary_rpc_method_handler(stall),
    "Stalled": grpc.unary_unary_rpc_method_handler(stalled),
    "Serve": grpc.unary_unary_rpc_method_handler(serve),
}

if __name__ == "__main__":
    address = f"127.0.0.1:{sys.argv[1]}"
    limits = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(32), options=limits)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", calls),))
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    if len(sys.argv) > 2:
        cert, key = (open(name, "rb").read() for name in sys.argv[2:])
        server.add_secure_port(address, grpc.ssl_server_credentials([(key, cert)]))
    else:
        server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()
