"""A peer made of libzmq, for libzmq_test.go: it does what lines of JSON on its input say, and answers each with one."""

import json
import sys

import zmq
from zmq.utils.monitor import recv_monitor_message

context = zmq.Context()
sockets = {}
monitors = {}


def opened(name, type, bind=None, connect=None, options={}, curve=None):
    s = context.socket(getattr(zmq, type))
    s.setsockopt(zmq.LINGER, 0)
    s.setsockopt(zmq.RECONNECT_IVL, 20)
    for option, value in options.items():
        s.setsockopt(getattr(zmq, option), value.encode() if isinstance(value, str) else value)
    for option, value in (curve or {}).items():
        if value is True:
            s.setsockopt(zmq.CURVE_SERVER, 1)
        else:
            s.setsockopt(getattr(zmq, "CURVE_" + option), value.encode())
    monitors[name] = s.get_monitor_socket()
    sockets[name] = s
    if bind:
        s.bind(bind)
    if connect:
        s.connect(connect)
    return s.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()


def sent(name, frames):
    sockets[name].send_multipart([bytes.fromhex(f) for f in frames])


def received(name, timeout):
    if not sockets[name].poll(timeout):
        return None
    return [f.hex() for f in sockets[name].recv_multipart()]


def event(name, timeout):
    if not monitors[name].poll(timeout):
        return None
    return int(recv_monitor_message(monitors[name])["event"])


def version():
    return zmq.zmq_version() if zmq.has("curve") else ""


for line in sys.stdin:
    order = json.loads(line)
    does = {"open": opened, "send": sent, "recv": received, "event": event, "version": version}[order.pop("do")]
    print(json.dumps(does(**order)), flush=True)
