"""Puts TestZeek between the sockets of a node: the broker's two and a logger's, on ports of the kernel's choice.

Writes the ports, then a line for each message that arrives: the socket it came by, and its frames in hex.
Reads lines "xpub" or "xsub", and frames to send there; ends with its input.
"""
import os
import sys
import zmq

context = zmq.Context()
sockets = {"xpub": context.socket(zmq.XPUB), "xsub": context.socket(zmq.XSUB), "pull": context.socket(zmq.PULL)}
sockets["xpub"].setsockopt(zmq.XPUB_VERBOSER, 1)
for s in sockets.values():
    s.setsockopt(zmq.LINGER, 0)
    s.bind("tcp://127.0.0.1:*")
print(*(s.getsockopt_string(zmq.LAST_ENDPOINT) for s in sockets.values()), flush=True)

poller = zmq.Poller()
for s in sockets.values():
    poller.register(s, zmq.POLLIN)
poller.register(0, zmq.POLLIN)
names = {s: name for name, s in sockets.items()}
begun = b""
while True:
    for s, _ in poller.poll():
        if s in names:
            frames = s.recv_multipart()
            print(names[s], *(f.hex() or "-" for f in frames), flush=True)
            # A node waits for its own subscriptions to come back.
            if names[s] == "xpub":
                sockets["xsub"].send_multipart(frames)
            continue
        data = os.read(0, 1 << 16)
        if not data:
            sys.exit(0)
        *lines, begun = (begun + data).split(b"\n")
        for line in lines:
            name, *frames = line.decode().split()
            sockets[name].send_multipart([bytes.fromhex(f) for f in frames])
