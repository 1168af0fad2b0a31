"""resave_parts.py RUN OUTPUT: the parts that ../main's stage 0 saved as preset "embedded" (or an
eye.pt without parts), saved as "tiny" with the language model beside them. Run with the ship's code:
    cd . && .venv/bin/python parked-switch/resave_parts.py ../main/runs/embedded runs/tiny/parts
"""
import json, shutil, sys
from pathlib import Path
sys.path.insert(0, ".")
from safetensors import safe_open
from minigpt4.checkpoints.native import load_part
from minigpt4.models.presets import TINY
from train.tiny.eye import Eye, save_parts
from train.tiny.steps import load_weights

run, output = map(Path, sys.argv[1:3])
output.mkdir(parents=True, exist_ok=True)
eye = Eye(TINY)
if (run / "qformer.safetensors").is_file():
    for name, part in (("vision", eye.vision), ("qformer", eye.qformer)):
        file = run / f"{name}.safetensors"
        with safe_open(file, "pt") as opened:
            preset = json.loads(opened.metadata()["minigpt4"])["preset"]
        load_part(file, part, name, preset=preset)
        print(name, "was of preset", preset)
else:
    file = run / ("eye.pt" if (run / "eye.pt").is_file() else "eye_state.pt")
    load_weights(eye, file)
    print("from", file)
save_parts(eye, output)
if (run / "language").is_dir() and (run / "language").resolve() != (output / "language").resolve():
    shutil.copytree(run / "language", output / "language", dirs_exist_ok=True)
print("parts in", output, sorted(p.name for p in output.iterdir()))
