"""Parses what malloc_info wrote with a real XML parser and checks its figures.

Runs the given program, which holds known blocks while it prints the document.
Usage: check_malloc_info.py PROGRAM
"""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit("usage: check_malloc_info.py PROGRAM")
    result = subprocess.run([sys.argv[1]], capture_output=True, text=True, timeout=60, check=False)
    if result.returncode != 0:
        sys.exit(f"{sys.argv[1]} ended with {result.returncode}: {result.stderr.strip()}")
    try:
        root = ElementTree.fromstring(result.stdout)
    except ElementTree.ParseError as error:
        sys.exit(f"malloc_info wrote no XML: {error}\n{result.stdout[:2000]}")
    if root.tag != "malloc" or not root.get("version"):
        sys.exit(f"the root element is <{root.tag} {root.attrib}>, not <malloc version=...>")
    # As glibc: <system type="current" size="..."/> is what was taken from the system.
    system = [int(item.get("size", "0")) for item in root.findall("system")
              if item.get("type") == "current"]
    if not system:
        sys.exit('no <system type="current" size="..."/> below the root')
    held = 96 << 20
    if not held <= system[0] <= 2 * held:
        sys.exit(f"{system[0]} bytes from the system while the program holds {held}")
    print(f"malloc_info: {sum(1 for _ in root.iter())} elements, "
          f"{system[0] >> 20} MiB from the system")
    return 0


if __name__ == "__main__":
    sys.exit(main())
