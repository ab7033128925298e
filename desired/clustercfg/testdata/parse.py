"""Asks Zeek's zeek-client what it makes of configurations, for TestGenerated.

Usage: parse.py ZEEK-CLIENT HOSTNAME < LIST

ZEEK-CLIENT is the program, whose modules are beside it or in the folder that it names. LIST is a list of texts in JSON. For each,
one line is printed: {"config": …} as get-config --as-json shows it, without the id; {"refused": true}; or {"crash": "…"}.
"""

import configparser
import json
import logging
import os.path
import re
import socket
import sys

program, host = sys.argv[1:]
with open(program, encoding="utf-8") as f:
    named = re.search(r'^ZEEK_PYTHON_DIR.*"(/.*)"', f.read(), re.MULTILINE)
sys.path.insert(0, named.group(1) if named else os.path.dirname(os.path.abspath(program)))

from zeekclient.types import Configuration  # noqa: E402

socket.gethostname = lambda: host
logging.disable()


def parse(text):
    parser = configparser.ConfigParser(allow_no_value=True)
    try:
        parser.read_file(text.splitlines(keepends=True))
        config = Configuration.from_config_parser(parser)
        if config is None:
            return {"refused": True}
        config.to_brokertype()  # what is sent
        config = config.to_json_data()
    except Exception as err:  # pylint: disable=broad-except
        return {"crash": f"{type(err).__name__}: {err}"}
    del config["id"]
    return {"config": config}


for text in json.load(sys.stdin):
    print(json.dumps(parse(text)))
