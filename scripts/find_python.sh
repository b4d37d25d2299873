#!/usr/bin/env bash
# Prints the path of a Python 3 with numpy and matplotlib (Debian's own first, then the one on the path), or an error.
for python in /usr/bin/python3 "$(command -v python3)"; do
    if [ -x "$python" ] && "$python" -c 'import numpy, matplotlib' 2>/dev/null; then
        echo "$python"
        exit 0
    fi
done
echo "error: no python3 with numpy and matplotlib found; run scripts/setup.sh, or apt-get install python3-numpy python3-matplotlib" >&2
exit 1
