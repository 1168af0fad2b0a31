import ast, re, shutil, sys
from pathlib import Path

source, target = map(Path, sys.argv[1:3])
FOLDERS = {
    "train/world": "train/cartoon",
    "train/embedded": "train/tiny",
    "tests/train/world": "tests/train/cartoon",
    "tests/train/embedded": "tests/train/tiny",
}
# The target's own files, kept and never overwritten.
OWN = {
    "train/cartoon": {"make.py", "examples.py", "own_example.py"},
    "train/tiny": {"pointing.py", "saliency.py", "larger.py"},
    "tests/train/cartoon": {"test_making.py"},
    "tests/train/tiny": {"test_whole.py"},
}
# Ports of the old ones, kept only until the source has its own.
UNTIL_THERE = {"train/tiny": {"evaluate.py", "report.py", "model_card.md"}}
SUPERSEDED = ["tests/train/test_draw.py", "tests/train/test_world.py", "tests/train/test_stage0.py"]
REPLACED = [
    (r"runs/embedded", "runs/tiny/parts"),
    (r'"runs" / "embedded"', '"runs" / "tiny" / "parts"'),
    (r"tests([./])train([./])world", r"tests\1train\2cartoon"),
    (r"tests([./])train([./])embedded", r"tests\1train\2tiny"),
    (r"train([./])world\b", r"train\1cartoon"),
    (r"train([./])embedded\b", r"train\1tiny"),
    (r"from train import embedded\b", "from train import tiny"),
]
DROPPED = {"language_run.py"} # `stage0 --only language` does the same

def rewritten(text: str) -> str:
    for pattern, new in REPLACED:
        text = re.sub(pattern, new, text)
    return text

def preset_block(text: str):
    """The PRESET statement of eye.py."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "PRESET":
            return ast.get_source_segment(text, node)
    return None

def with_tiny_preset(text: str) -> str:
    """PRESET of eye.py is TINY of minigpt4.models.presets."""
    if not re.search(r"\bPRESET\b", text):
        return text
    block = preset_block(text)
    if block:
        text = text.replace(block + "\n", "")
    # out of imports from eye
    def drop(match):
        names = [n.strip() for n in match[1].strip("()\n ").split(",") if n.strip()]
        kept = [n for n in names if n != "PRESET"]
        return f"from train.tiny.eye import ({', '.join(kept)})\n" if kept else ""
    text = re.sub(r"from train\.tiny\.eye import (\([^)]*\)|[^\n(]*)\n", drop, text)
    text = re.sub(r"\bPRESET\b", "TINY_PRESET", text)
    # one import line behind the module's docstring; ruff sorts it
    tree = ast.parse(text)
    line = next(n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))).lineno - 1
    lines = text.split("\n")
    lines.insert(line, "from minigpt4.models.presets import TINY as TINY_PRESET")
    return "\n".join(lines)

for old in SUPERSEDED:
    (target / old).unlink(missing_ok=True)
for old, new in FOLDERS.items():
    here, there = target / new, source / old
    for leftover in (target / old,):
        if leftover.exists():
            shutil.rmtree(leftover)
    here.mkdir(parents=True, exist_ok=True)
    names = {str(p.relative_to(there)) for p in there.rglob("*") if p.is_file() and not {"__pycache__", "begun"} & set(p.parts)}
    names -= DROPPED
    own = OWN.get(new, set())
    waiting = {n for n in UNTIL_THERE.get(new, set()) if n not in names}
    if waiting:
        print(f"still the old port in {new}: {sorted(waiting)}")
    for path in sorted(here.rglob("*")):
        name = str(path.relative_to(here))
        if path.is_file() and "__pycache__" not in path.parts and name not in own | waiting:
            path.unlink()
    for name in sorted(names - own):
        content = (there / name).read_bytes()
        if name.endswith((".py", ".md")):
            text = with_tiny_preset(rewritten(content.decode())) if name.endswith(".py") else rewritten(content.decode())
            content = text.encode()
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

# Stage 0 on another device: (file, old, new), skipped with a warning where the source has changed.
EDITS = [
    ("stage0.py", "from train.tiny.eye import Eye, EyeSettings, load_weights, save_parts\n", "from train.tiny.eye import Eye, EyeSettings, save_parts\nfrom train.tiny.steps import load_weights\n"),
    ("compiling.py", """        "cpu", torch.bfloat16, enabled=_has_bfloat16()
""", """        _device_type(), torch.bfloat16, enabled=_has_bfloat16()
"""),
    ("compiling.py", """    return torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - no public name for it
""", """    on_cpu = torch.get_default_device().type == "cpu"
    return not on_cpu or torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - no public name for it


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _device_type() -> str:
    return torch.get_default_device().type
"""),
    ("eye.py", "values = torch.from_numpy(drawn).permute", "values = torch.from_numpy(drawn).to(torch.get_default_device()).permute"),
    ("eye.py", "(values[gray] * _LUMINANCE)", "(values[gray] * _LUMINANCE.to(values.device))"),
    ("eye.py", 'torch.isin(labels["background"], _PLAIN)', 'torch.isin(labels["background"], _PLAIN.to(gray.device))'),
    ("steps.py", 'torch.load(file, weights_only=True)["module"]', 'torch.load(file, weights_only=True, map_location=torch.get_default_device())["module"]'),
    ("steps.py", "content = torch.load(state, weights_only=True)", "content = torch.load(state, weights_only=True, map_location=torch.get_default_device())"),
    ("eye_scores.py", "torch.isin(pair, _UNSEEN_PAIRS)", "torch.isin(pair, _UNSEEN_PAIRS.to(pair.device))"),
    ("language.py", "generator = torch.Generator()", "generator = torch.Generator(torch.get_default_device())"),
    ("bridge.py", "torch.Generator()", "torch.Generator(torch.get_default_device())"),
    ("stage0.py", """    threads: int = 0,
    language: Lang""", """    threads: int = 0,
    device: str = "cpu",
    language: Lang"""),
    ("stage0.py", """            side, share them.
""", """            side, share them.
        device: What the parts are trained on: cpu, cuda.
"""),
    ("stage0.py", "make_language, output, language, share)", "make_language, output, language, share, device)"),
    ("stage0.py", "make_eye, output, eye, share)", "make_eye, output, eye, share, device)"),
    ("stage0.py", "make_language(output, language, threads)", "make_language(output, language, threads, device)"),
    ("stage0.py", "make_eye(output, eye, threads)", "make_eye(output, eye, threads, device)"),
    ("stage0.py", "make_bridge(output, eye, bridge, threads)", "make_bridge(output, eye, bridge, threads, device)"),
    ("stage0.py", "settings: LanguageSettings, threads: int) -> None", 'settings: LanguageSettings, threads: int, device: str = "cpu") -> None'),
    ("stage0.py", "settings: EyeSettings, threads: int) -> None", 'settings: EyeSettings, threads: int, device: str = "cpu") -> None'),
    ("stage0.py", "settings: BridgeSettings, threads: int\n", 'settings: BridgeSettings, threads: int, device: str = "cpu"\n'),
    ("stage0.py", "    _begin(threads)\n", "    _begin(threads, device)\n"),
    ("stage0.py", "def _begin(threads: int) -> None:\n", "def _begin(threads: int, device: str) -> None:\n    torch.set_default_device(device)\n"),
    ("stage0.py", 'load_language_model(output / "language", torch.float32)', 'load_language_model(output / "language", torch.float32, device=torch.device(device))'),
]
for name, old, new in EDITS:
    file = target / "train/tiny" / name
    text = file.read_text()
    if old not in text:
        print(f"WARNING: the device edit of train/tiny/{name} does not fit any more: {old[:70]!r}")
    file.write_text(text.replace(old, new))

# The preset: sizes as in the source's eye.py, under the name "tiny".
block = preset_block((source / "train/embedded/eye.py").read_text())
if block:
    queries = 0
    scope = {"CELLS": 16, "LONGEST_WORD": 5}
    call = ast.parse(block).body[0].value
    keywords = {k.arg: k.value for k in call.keywords}
    def value(node):
        if isinstance(node, ast.Constant):
            return repr(node.value)
        if isinstance(node, ast.Name) and node.id == "QUERIES":
            return "22"
        raise SystemExit(f"preset value {ast.dump(node)} is not known to switch.py")
    parts = []
    for name in ("vision", "qformer"):
        inner = keywords[name]
        fields = ", ".join(f"{k.arg}={value(k.value)}" for k in inner.keywords)
        parts.append(f"    {name}={inner.func.id}({fields}),")
    assert set(keywords) == {"name", "vision", "qformer"}, keywords.keys()
    made = "TINY = Preset(\n    name=\"tiny\",\n" + "\n".join(parts) + "\n)\n"
    made = made.replace("'", '"')
    file = target / "minigpt4/models/presets.py"
    text = file.read_text()
    text, count = re.subn(r"^TINY = Preset\(\n.*?^\)\n", lambda _: made, text, flags=re.M | re.S)
    assert count == 1
    file.write_text(text)
