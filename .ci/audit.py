"""Ask pip-audit about each distribution of a list, `python .ci/audit.py PIP_AUDIT LIST`; green if it knew all of them.

pip-audit alone ends with 0 where the service knows none of the distributions, as behind a mirror without its records.
"""

from __future__ import annotations

import json
import subprocess
import sys


def judged(report: str, complaint: str) -> tuple[int, list[str]]:
    """Return the exit code and what to print: 0 all asked and none vulnerable, 1 a vulnerability, 2 nothing is known.

    Args:
        report: Standard output of `pip-audit -f json`.
        complaint: Its standard error.
    """
    try:
        asked = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (complaint.strip().splitlines() or ["no answer"])[-1]
        return 2, [f"audit: nothing was audited, the vulnerability service did not answer: {last[:300]}"]
    found = [
        f"audit: {part['name']} {part['version']}: {fault['id']}, fixed in {', '.join(fault['fix_versions']) or '?'}"
        for part in asked
        for fault in part.get("vulns", [])
    ]
    skipped = [part for part in asked if "vulns" not in part]
    if skipped or not asked:
        why = skipped[0].get("skip_reason", "no reason") if skipped else "an empty list"
        found.append(f"audit: {len(skipped)} of {len(asked)} distributions were not audited, such as: {why}")
        return (1 if len(found) > 1 else 2), found
    return (1, found) if found else (0, [f"audit: {len(asked)} distributions, no known vulnerability"])


def main(program: str, listed: str) -> int:
    """Audit the pinned distributions of the file `listed`."""
    options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    command = [program, *options, "-r", listed]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the Makefile's own
    code, lines = judged(done.stdout, done.stderr)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
