"""gRPC C-core without a proxy: asks xds:///TARGET at a steady rate.

A line of output for each request: when it was sent and when it ended (ms since the epoch), then the version that
answered, or `!` and why none did. The first line says what this client is. SIGTERM ends it once all is answered.
"""

import signal
import sys
import threading
import time

import grpc

target, rate = sys.argv[1], float(sys.argv[2])
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
print(f"gRPC C-core {grpc.__version__}", flush=True)


def ended(call, sent):
    if call.code() == grpc.StatusCode.OK:
        outcome = dict(call.initial_metadata())["x-lab-version"]
    else:
        outcome = f"! {call.code()} {call.details()}".replace("\n", " ")
    # One write: callbacks come from several threads.
    sys.stdout.write(f"{sent} {time.time_ns() // 1_000_000} {outcome}\n")
    sys.stdout.flush()
    under_way.release()


with grpc.insecure_channel("xds:///" + target) as channel:
    grpc.channel_ready_future(channel).result()
    ask = channel.unary_unary("/stream")
    under_way, asked, due = threading.Semaphore(0), 0, time.monotonic()
    while not stopped.wait(max(0, due - time.monotonic())):
        sent = time.time_ns() // 1_000_000
        ask.future(b"", timeout=30).add_done_callback(lambda call, sent=sent: ended(call, sent))
        asked, due = asked + 1, due + 1 / rate
    for _ in range(asked):
        under_way.acquire()
