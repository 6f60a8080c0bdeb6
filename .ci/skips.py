"""Fails when the tests skipped something for a reason that is not allowed: skips.py JUNIT_XML ALLOWED."""

import sys
import xml.etree.ElementTree as xml
from pathlib import Path

report, allowed = Path(sys.argv[1]), Path(sys.argv[2]).read_text().splitlines()
reasons = [line for line in allowed if line.strip() and not line.startswith("#")]
skipped = [
    (case.get("classname"), case.get("name"), skip.get("message", ""))
    for case in xml.parse(report).iter("testcase")
    for skip in case.iter("skipped")
]
wrong = [skip for skip in skipped if not any(reason in skip[2] for reason in reasons)]
for where, name, message in wrong:
    print(f"skipped, and should not have been: {where}::{name}: {message}", file=sys.stderr)
sys.exit(bool(wrong))
