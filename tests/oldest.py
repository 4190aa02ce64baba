"""Print the oldest version of each dependency that setup.py allows, as constraints for pip.

`make test-oldest` installs these, and runs the tests with them: a lower bound is a promise too.
"""

import re
from importlib.metadata import requires


def constraints(requirements):
    """Return a line `name==version` for each requirement with a lower bound, once."""
    found = (re.match(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)", each) for each in requirements)
    return sorted({f"{bound[1]}=={bound[2]}" for bound in found if bound})


if __name__ == "__main__":
    print("\n".join(constraints(requires("minicnn"))))
