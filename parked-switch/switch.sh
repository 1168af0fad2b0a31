#!/bin/bash
# switch.sh [SOURCE=../main] [TARGET=.]: the new world and stage 0 take the old ones' names.
# Can be run again whenever train/world or train/embedded change in SOURCE. Files of the target that
# are its own (made for the switch, see OWN in switch.py) are kept; everything else in the four
# folders is replaced.
set -euo pipefail
SOURCE=${1:-../main}
TARGET=${2:-.}
cd "$TARGET"
"$TARGET/.venv/bin/python" parked-switch/switch.py "$SOURCE" "$TARGET"
RUFF="$TARGET/.venv/bin/ruff"
FOLDERS="train/cartoon train/tiny tests/train/cartoon tests/train/tiny"
$RUFF check -q --fix --select I,F401 $FOLDERS minigpt4/models/presets.py || true
$RUFF format -q $FOLDERS minigpt4/models/presets.py
$RUFF check $FOLDERS minigpt4/models/presets.py || true
# What the world draws for the page and for own data, as it draws now. LOOK at them when they change.
rm -rf examples/own_data/pictures
"$TARGET/.venv/bin/python" -m train.cartoon.own_example examples/own_data
"$TARGET/.venv/bin/python" -m train.cartoon.examples minigpt4/assets/examples
git -C "$TARGET" status --short | head -60
