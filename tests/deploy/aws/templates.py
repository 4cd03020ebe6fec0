"""Prints the templates as JSON, by their names, with the short forms of functions spelled out: templates.py FILE…"""

import json
import sys
from pathlib import Path

from cfnlint.decode import decode


def template(path):
    document, problems = decode(path)
    assert not problems, problems
    return document


print(json.dumps({Path(path).stem: template(path) for path in sys.argv[1:]}, default=str))
