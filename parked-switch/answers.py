import sys; sys.path.insert(0,".")
import torch; torch.set_num_threads(1)
from pathlib import Path
from minigpt4.build import build_chat
from minigpt4.chat import Session
from minigpt4.config import ASSETS, GenerationSettings, load_config
from tests.truth import true_answer
cfg=load_config(Path("./eval_configs/tiny.yaml"),["device=cpu"])
chat=build_chat(cfg)
G=GenerationSettings(temperature=0,repetition_penalty=1.0,max_new_tokens=160)
ok=0
asked=[(Path(e.picture).stem,e.question) for e in cfg.page.examples]+[("harbour","What color is the boat?"),("harbour","How big is the boat?"),("street","Describe this image in detail."),("night","What is in the center?"),("room","How many objects are there?"),("garden","Describe this image in detail.")]
for n,q in asked:
    s=Session().attach(chat.encode_image(ASSETS/"examples"/f"{n}.png"))
    *_,last=chat.stream_answer(s,q,G)
    *_,one=chat.stream_answer(s,q,G,projection="Stage 1")
    t=true_answer(n,q)
    print(n,"|",q,"\n   ",("OK " if last.text==t else "NO "),last.text,"" if last.text==t else f"\n    true: {t}", "\n    stage 1:", one.text)
chat.close()
