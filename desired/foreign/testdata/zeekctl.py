"""Prints the processes that zeekctl would start, for TestZeekctlItself.

Usage: zeekctl.py ZEEKCTL NODES CONFIG

ZEEKCTL is a folder with the package ZeekControl, NODES a node.cfg, and CONFIG what a zeekctl.cfg adds. Each process is a line:
role, name, and what it is started with, in the form of processes in originals_test.go. Shells take values apart as
zeekctl's own do.
"""

import os
import re
import subprocess
import sys
import tempfile

root, nodes, extra = sys.argv[1:]
sys.path.insert(0, root)
from ZeekControl import control, install  # noqa: E402
from ZeekControl.zeekctl import ZeekCtl  # noqa: E402


class Quiet:
    def info(self, text):
        pass

    error = warn = info


def shell(text):
    """The words that a shell makes of text."""
    out = subprocess.run(["sh", "-c", f"printf '%s\\n' {text}"], stdout=subprocess.PIPE, check=True)
    return out.stdout.decode().splitlines()


base = tempfile.mkdtemp()
for d in ("bin", "etc", "logs", "spool/tmp", "scripts", "lib", "layout"):
    os.makedirs(os.path.join(base, d))
open(os.path.join(base, "scripts/make-archive-name"), "w").close()
with open(nodes) as f, open(os.path.join(base, "etc/node.cfg"), "w") as to:
    to.write(f.read())
with open(extra) as f, open(os.path.join(base, "etc/zeekctl.cfg"), "w") as to:
    to.write(f"ScriptsDir = {base}/scripts\nMakeArchiveName = {base}/scripts/make-archive-name\n")
    to.write(f"PluginDir = {root}/ZeekControl/plugins\n")
    to.write("cluster_backend_zeromq.use_curve_encryption = 0\n" + f.read())

ctl = ZeekCtl(basedir=base, libdir=base + "/lib", libdirinternal=root, cfgfile=base + "/etc/zeekctl.cfg", zeekscriptdir=base + "/scripts", ui=Quiet())
install.make_layout(base + "/layout", Quiet(), silent=True)
layout = open(os.path.join(base, "layout", os.listdir(base + "/layout")[0])).read()
where = {}
for line in layout.splitlines():
    m = re.match(r'\s*\["(.*)"\] = \[\$node_type=.*?\$p=(\d+)/tcp', line)
    if m:
        metrics = re.search(r"\$metrics_port=(\d+)/tcp", line)
        where[m.group(1)] = (m.group(2), metrics.group(1) if metrics else "0")

scripts = ctl.plugins.getZeekctlConfig(Quiet())
ends = re.findall(r'redef Cluster::Backend::ZeroMQ::listen_x[ps]ub_endpoint = "(.*)";', scripts)
if ends:
    print("broker", *ends)
# What the plugin for AF_PACKET sets is in an @if of each worker.
own = {}
for m in re.finditer(r'@if\( peer_description == "([^"]*)" \)(.*?)@endif', scripts, re.DOTALL):
    own[m.group(1)] = [f"{k}={v}" for k, v in re.findall(r"redef (\S+) = (.*);", m.group(2))]

generated = ("zeekctl", "zeekctl/standalone", "zeekctl/auto", "base/frameworks/cluster")
for n in ctl.config.nodes():
    line = f"{n.type} {n.name}"
    if n.interface:
        line += f" -i {n.interface}"
    if n.type == "standalone":
        port, metrics = (re.findall(r"_port = (\d+)/tcp", layout) + ["0"])[:2]
    else:
        port, metrics = where[n.name]
    if n.type != "worker":
        line += f" port {port}"
    line += f" metrics {metrics}"
    if n.pin_cpus != "":
        line += f" cpus [{n.pin_cpus}]"
    args = shell(" ".join(control._make_zeek_params(n, True)))
    rest = args[len(args) - args[::-1].index("-p") + 1 :]  # behind the last -p PREFIX
    rest = [a for a in rest if a not in generated and not a.startswith("policy/frameworks/cluster/backend/")]
    line += " scripts " + " ".join(rest + own.get(n.name, []))
    for k, v in sorted(n.env_vars.items()):
        value = shell(f"{k}={v}")
        line += ' %s="%s"' % (k, " ".join(value)[len(k) + 1 :].replace('"', '\\"'))
    print(line)
