"""What the generation commands refuse: for each, the exit code, what the one line says, and how.

A command is written as for a shell; ``< FILE`` feeds standard input. The files are those of
``files``. Where the words are right and the world is wrong, a fault of ``faults`` comes last. An
empty text means that nothing at all is said.
"""

from __future__ import annotations

import shutil
from typing import Final

from fdream.models.bundle_folder import INDEX_NAME
from tests.cli.bad_input.faults import (
    Fault,
    as_pickle,
    broken_plugin,
    bundle,
    cut,
    full_stdout,
    index,
    interrupted,
    locked,
    quota,
    reader_gone,
    record,
    terminated,
    text,
)

Bad = tuple[int, str, str] | tuple[int, str, str, Fault]

_I2V: Final = "i2v --motion in -o new.mp4"
_ESCAPES: Final = "\x1b[2J\x1b]0;owned\x07"

PROMPTS: Final[dict[str, Bad]] = {
    "empty": (2, "PROMPT: empty", "t2i ''"),
    "blank": (2, "PROMPT: empty", "t2v '  \n\t'"),
    "blank among others": (2, "PROMPT 2: empty", "t2i 'a corgi' ' ' -o new/"),
    "100,000 characters": (2, "100000 characters", f"t2i {'x' * 100_000}"),
    "escapes": (2, "U+001B", "t2i 'a \x1b[31m corgi'"),
    "a zero": (2, "U+0000", "t2i 'a \0 corgi'"),
    "half a character": (2, "U+D800", "t2i 'a \ud800 corgi'"),
    "escapes in --motion": (2, "--motion: holds", f"i2v plain.png --motion '{_ESCAPES}'"),
    "escapes in --negative": (2, "--negative: holds", f"t2i a --negative '{_ESCAPES}'"),
    "100,000 characters of --motion": (2, "--motion: 100000", f"t2v a --motion {'x' * 100_000}"),
}

NUMBERS: Final[dict[str, Bad]] = {
    "steps 0": (2, "--steps", "t2i a --steps 0"),
    "steps above": (2, "--steps", "t2i a --steps 1001"),
    "steps text": (2, "--steps", "t2i a --steps many"),
    "guidance nan": (2, "guidance", "t2i a --guidance nan"),
    "guidance negative": (2, "--guidance", "t2i a --guidance -1"),
    "guidance infinite": (2, "--guidance", "t2i a --guidance inf"),
    "prior steps 0": (2, "--prior-steps", "t2v a --prior-steps 0"),
    "frames 0": (2, "--frames", "t2v a --frames 0"),
    "frames above": (2, "--frames", "t2v a --frames 10001"),
    "fps 0": (2, "--fps", "t2v a --fps 0"),
    "fps nan": (2, "fps", "t2v a --fps nan"),
    "num 0": (2, "--num", "t2i a --num 0"),
    "seed negative": (2, "--seed", "t2i a --seed -1"),
    "seed too large": (2, "--seed", f"t2i a --seed {2**63}"),
    "threads 0": (2, "--threads", "t2i a --threads 0"),
    "quality 0": (2, "--quality", "t2v a --quality 0 -o new.mp4"),
    "quality 101": (2, "--quality", "t2v a --quality 101 -o new.mp4"),
    "loop negative": (2, "--loop", "t2v a --loop -1 -o new.gif"),
    "size text": (2, "size", "t2i a --size big"),
    "size 0": (2, "size", "t2i a --size 0x0"),
    "size huge": (2, "size", "t2i a --size 20000x20000"),
    "size odd": (2, "multiples of 8", "t2v a --size 33x33"),
}

WORDS: Final[dict[str, Bad]] = {
    "prior misspelt": (3, "Did you mean 'pocket'?", "t2i a --prior pokcet"),
    "generator misspelt": (3, "Did you mean 'dreamer'?", "t2v a --generator dremaer"),
    "scheduler misspelt": (3, "Did you mean 'euler'?", "t2i a --scheduler euller"),
    "splitter misspelt": (3, "Did you mean 'grammar'?", "t2v a --splitter gramar"),
    "stage with a path": (3, "'../evil'", "t2i a --prior ../evil"),
    "scheduler that does not fit": (3, "zero terminal", "t2i a --scheduler heun"),
    "no bundle named": (2, "write dreamer:BUNDLE", "t2v a --generator dreamer"),
    "resize": (2, "resize", "t2v a --resize stretch"),
    "device": (2, "device", "t2i a --device tpu"),
    "device that is not there": (5, "cuda", "t2i a --device cuda:99"),
    "dtype": (2, "dtype", "t2i a --dtype int4"),
    "format": (2, "--format tiff", "t2i a --format tiff"),
    "option misspelt": (2, "--step", "t2i a --step 3"),
    "quality of png": (2, "--quality 50: png", "t2i a --quality 50 -o new.png"),
    "quality of apng": (2, "--quality 50: apng", "t2v a --quality 50 -o new.apng"),
    "loop of mp4": (2, "--loop 2: mp4", "t2v a --loop 2 -o new.mp4"),
    "loop of frames": (2, "--loop 0: frames", "t2v a --loop 0 -f frames"),
    "prompts twice": (2, "--prompts", "t2i 'a corgi' --prompts notes.txt"),
    "list of another kind": (2, "--prompts-format", "t2i --prompts notes.txt --prompts-format csv"),
    "replay on another device": (2, "device", "-q replay x.png --device tpu", record()),
    "replay with another stage": (3, "'pocket'?", "replay x.png --prior pokcet", record()),
}

OUTPUTS: Final[dict[str, Bad]] = {
    "empty": (2, "-o: empty", "t2v a -o ''"),
    "no ending": (2, "without an ending", "t2v a -o video"),
    "unknown ending": (2, ".xyz", "t2v a -o new.xyz"),
    "image as mp4": (2, ".mp4", "t2i a -o new.mp4"),
    "below a file": (6, "notes.txt is a file", "t2i a -o notes.txt/x.png"),
    "in no folder": (6, "no folder nowhere", "t2v a -o nowhere/new.mp4"),
    "name too long": (6, "too long", f"t2v a -o {'x' * 300}.mp4"),
    "frames over a file": (6, "it is a file", "t2v a -f frames -o notes.txt"),
    "json and bytes": (2, "--json", "t2i a -o - --json"),
    "frames into a pipe": (2, "a folder cannot", "t2v a -f frames"),
    "frames on standard output": (2, "a folder cannot", "t2v a -f frames -o -"),
    "several videos in one stream": (2, "several videos", "t2v a --num 2 -o -"),
    "several prompts in one stream": (2, "several videos", "t2v a b -o -"),
    "several webp in one stream": (2, "several webp images", "t2i 'a corgi' 'a sea' -f webp"),
    "resuming a stream": (2, "--resume", "t2i a --seed 1 --resume -o -"),
    "resuming without records": (2, "--resume", "t2i a --seed 1 --resume --no-metadata -o new/"),
    "resuming a drawn seed": (2, "give --seed", "t2i a --resume -o new/"),
    "resuming over another file": (6, "made.mp4: is there", "t2v a --seed 1 --resume -o made.mp4"),
    "replay into a stream": (2, "gets the answer", "replay x.png -o -", record()),
    "replay into no folder": (6, "nowhere", "replay x.png -o nowhere/x.png", record()),
    "replay as another kind": (2, ".mp4", "replay x.png -o new.mp4", record()),
    "full disk, png": (6, "cannot write /dev/full", "t2i a -f png -o /dev/full"),
    "full disk, mp4": (6, "cannot write /dev/full", "t2v a -f mp4 -o /dev/full"),
    "full disk, piped": (6, "cannot write to standard output", "t2i 'a corgi'", full_stdout),
    "quota, png": (6, "make room", "t2i a -o new.png", quota),
    "quota, mp4": (6, "make room", "t2v a -o made.mp4", quota),
    "quota, frames": (6, "make room", "t2v a -f frames -o new", quota),
    "reader gone, image": (141, "", "t2i 'a corgi'", reader_gone),
    "reader gone, video": (141, "", "t2v 'a corgi' -o -", reader_gone),
    "reader gone, text": (141, "", "t2i 'a corgi' --explain", reader_gone),
}

IMAGES: Final[dict[str, Bad]] = {
    "absent": (4, "nowhere.png: cannot be read", f"{_I2V} nowhere.png"),
    "folder": (4, "empty-folder: it is a folder; name the", f"{_I2V} empty-folder"),
    "locked": (4, "plain.png: cannot be read (Perm", f"{_I2V} plain.png", locked("plain.png")),
    "text": (4, "notes.txt: not a PNG, JPEG", f"{_I2V} notes.txt"),
    "0 bytes": (4, "empty.png: empty", f"{_I2V} empty.png"),
    "0 bytes piped": (4, "standard input: empty", f"{_I2V} < empty.png"),
    "text piped": (4, "standard input: not a PNG", f"{_I2V} < notes.txt"),
    "signature alone": (4, "cut off", f"{_I2V} < signature.png"),
    "header alone": (4, "cut off", f"{_I2V} < header.png"),
    "truncated PNG": (4, "cut.png, image 1: the PNG is cut off", f"{_I2V} cut.png"),
    "truncated JPEG": (4, "cut.jpg: broken image", f"{_I2V} cut.jpg"),
    "damaged pixels": (4, "damaged.png: broken image", f"{_I2V} damaged.png"),
    "endless chunk": (4, "more than 512 MiB", f"{_I2V} endless.png"),
    "20000x20000": (4, "huge.png: its size is above the limit of 64", f"{_I2V} huge.png"),
    "100000000x1": (4, "wide.png: 100000000x1 is above the limit of 64", f"{_I2V} wide.png"),
    "bomb of text": (4, "text-bomb.png: broken image", f"{_I2V} text-bomb.png"),
    "mp4": (4, "real.mp4: this is a video (MP4)", f"{_I2V} real.mp4"),
    "mp4 piped": (4, "a video (MP4)", f"{_I2V} < real.mp4"),
    "webm": (4, "a video (WebM or Matroska)", f"{_I2V} clip.webm"),
    "tiff": (4, "a TIFF image; save it as PNG", f"{_I2V} photo.tiff"),
    "heic": (4, "an HEIC photo; save it as JPEG", f"{_I2V} photo.heic"),
    "pdf": (4, "a PDF", f"{_I2V} page.pdf"),
    "svg": (4, "an SVG drawing", f"{_I2V} drawing.svg"),
    "two JPEGs in one stream": (4, "only PNG images can be several", f"{_I2V} < two.jpg"),
    "motion with no image": (4, "standard input: empty", "i2v --motion in -o new.mp4 < empty.png"),
}

LISTS: Final[dict[str, Bad]] = {
    "absent": (4, "nowhere.txt: cannot be read", "t2i --prompts nowhere.txt"),
    "folder": (4, "empty-folder: it is a folder; name", "t2i --prompts empty-folder"),
    "locked": (4, "notes.txt: cannot be", "t2i --prompts notes.txt", locked("notes.txt")),
    "empty": (4, "holds no prompt", "t2v -o new.mp4 < empty.png"),
    "comments alone": (4, "holds no prompt", "t2v --prompts comments.txt -o new.mp4"),
    "an image": (4, "`fdream i2v` takes images", "t2v -o new.mp4 < plain.png"),
    "UTF-16": (4, "save it as UTF-8", "t2i -o new/ < utf16.txt"),
    "Latin-1": (4, "line 1: not UTF-8 (byte 0xe9 at 6)", "t2i -o new/ < latin1.txt"),
    "escapes": (4, "line 1: prompt: holds the control", "t2i -o new/ < escapes.txt"),
    "3,000 characters": (4, "line 1: prompt: 3000 characters", "t2i -o new/ < long.txt"),
    "200,000 characters": (4, "line 1: longer than 128 KiB", "t2i -o new/ < longer.txt"),
    "key misspelt": (4, "unknown key 'sed'; did you mean 'seed'?", "t2i -o new/ < misspelt.jsonl"),
    "JSON cut off": (4, "line 1: not valid JSON", "t2i -o new/ < broken.jsonl"),
    "text cut off": (4, "(Unterminated string starting at column 12)", "t2i < unterminated.jsonl"),
    "JSON nested": (4, "line 1: not valid JSON", "t2i -o new/ < nested.jsonl"),
    "key twice": (4, "the key 'prompt' stands there twice", "t2i -o new/ < twice.jsonl"),
    "prompt in two ways": (4, "prompt is given twice", "t2i -o new/ < both.jsonl"),
    "no prompt": (4, "says nothing to draw", "t2i -o new/ < nothing.jsonl"),
    "seed negative": (4, "seed = -1", "t2i -o new/ < seed.jsonl"),
    "num 0": (4, "num = 0", "t2i -o new/ < num.jsonl"),
    "prompt no text": (4, "prompt = ", "t2i -o new/ < list.jsonl"),
    "no object": (4, "no JSON object", "t2i -o new/ --prompts-format jsonl < array.jsonl"),
}

WEIGHTS: Final[dict[str, Bad]] = {
    "absent": (3, "nowhere", "t2v a --generator dreamer:./nowhere"),
    **{
        name: (
            3,
            says,
            "t2v 'a corgi' --prior pocket:./bad --generator dreamer:./bad -o new.gif",
            fault,
        )
        for name, says, fault in (
            ("newer schema", "pip install -U fdream", index(fdream={"schema": 2})),
            ("index gone", "no model_index.json", bundle(lambda b: (b / INDEX_NAME).unlink())),
            ("index no JSON", "cannot be read", text(INDEX_NAME, "{")),
            ("index nested", "cannot be read", text(INDEX_NAME, "[" * 100_000)),
            ("index of diffusers", "not one of ours", text(INDEX_NAME, '{"unet": ["x", "X"]}')),
            (
                "defaults no numbers",
                "defaults.prior.steps",
                index(fdream={"defaults": {"prior": {"steps": "x"}}}),
            ),
            ("encoders no table", "fdream.encoders", index(fdream={"encoders": [1]})),
            ("class to import", "does not load; known", index(unet=["subprocess", "Popen"])),
            ("part outside", "plain folder name", index(**{"../../evil": ["fdream", "X"]})),
            ("part not listed", "has no 'unet'", index(unet=None)),
            ("part gone", "vae has no folder", bundle(lambda b: shutil.rmtree(b / "vae"))),
            ("image weights cut", "text_encoder: model.safetensors is", cut("text_encoder", -9)),
            ("unet weights empty", "unet: diffusion_pytorch_model.safetensors", cut("unet", 0)),
            ("motion weights cut", "motion: diffusion_pytorch_model", cut("motion", 99)),
            ("motion text cut", "motion_text_encoder: model", cut("motion_text_encoder", -9)),
            ("pickle", "is a pickle", as_pickle("unet", "diffusion_pytorch_model.bin")),
            ("pickled text", "is a pickle", as_pickle("text_encoder", "pytorch_model.bin")),
            ("part no JSON", "config.json cannot be read", text("unet/config.json", "{")),
            ("part a list", "not a JSON object", text("text_encoder/config.json", "[]")),
            ("part unfit", "motion does not load", text("motion/config.json", '{"layout": 3}')),
            ("words no JSON", "tokenizer does not load", text("tokenizer/tokenizer.json", "{")),
            (
                "schedule gone",
                "scheduler_config.json: not found",
                bundle(lambda b: (b / "scheduler/scheduler_config.json").unlink()),
            ),
        )
    },
}

PLUGINS: Final[dict[str, Bad]] = {
    name: (3, f"fdream-broken 1.0{says}", "t2i a --prior broken", broken_plugin(source))
    for name, says, source in (
        ("raises at import", "", "1 / 0"),
        ("no Python", "", "it is = broken"),
        ("leaves", "", "import sys\nsys.exit('mine')"),
        ("imports what is not there", "", "import no_such_module"),
        ("has no declaration", "", "OTHER = 1"),
        ("declares something else", "", "SPEC = 3"),
        ("commands the terminal", "", f"raise RuntimeError({_ESCAPES!r})"),
    )
}

RECORDS: Final[dict[str, Bad]] = {
    "show, no record": (1, "no fdream record", "show plain.png"),
    "show, no folder of frames": (1, "no fdream record; this folder", "show empty-folder"),
    "show, locked": (4, "plain.png: cannot be read", "show plain.png", locked("plain.png")),
    **{
        f"{command}, {name}": (4, says, f"{command} {name}")
        for command in ("show", "replay")
        for name, says in (
            ("nowhere.png", "No such file"),
            ("notes.txt", "cannot be read"),
            ("empty.png", "cannot be read"),
            ("header.png", "cut off before its end"),
            ("cut-record.png", "its fdream record"),
            ("real.mp4", "cannot be read"),
            ("random.webm", "cannot be read"),
            ("script.mp4", "cannot be read"),
            ("newer.png", "pip install -U fdream"),
            ("bad-frames", "not valid JSON"),
        )
    },
    "replay, no record": (4, "no fdream record", "replay plain.png"),
    **{
        f"replay, {name}": (code, says, "-q replay x.png -o new.png", record(**changes))
        for name, code, says, changes in (
            ("another command", 4, "command", {"command": "rm"}),
            ("seed of text", 4, "seed", {"seed": "1; rm -rf /"}),
            ("huge picture", 4, "8192x8192", {"options": {"prior": {"size": "8192x8192"}}}),
            ("endless", 4, "steps", {"options": {"prior": {"size": "32x32", "steps": 10**9}}}),
            ("option", 4, "output", {"options": {"prior": {"size": "32x32", "output": "/x"}}}),
            ("threads", 4, "threads", {"threads": 10**9}),
            ("escapes", 4, "control", {"captions": {"appearance": _ESCAPES, "motion": ""}}),
            ("a path as stage", 4, "name", {"stages": {"prior": {"name": "../../evil"}}}),
            ("a path to weights", 3, "etc", {"stages": {"prior": {"name": "pocket:/etc"}}}),
            ("no hash of weights", 3, "tiny", {"stages": {"prior": {"name": "pocket:tiny"}}}),
            ("unknown stage", 3, "evil", {"stages": {"prior": {"name": "evil"}}}),
            ("another kind", 3, "dreamer", {"stages": {"prior": {"name": "dreamer"}}}),
            ("a download", 2, "--yes", {"stages": {"prior": {"name": "diffusers:evil/model"}}}),
            ("a folder", 4, "../tiny", {"stages": {"prior": {"name": "diffusers:../tiny"}}}),
            ("no stages", 4, "stages", {"stages": 3}),
            ("no hash of frames", 4, "frames_sha256", {"frames_sha256": None}),
            ("nothing", 4, "command", dict.fromkeys(("command", "seed", "captions", "stages"))),
        )
    },
}

ENDS: Final[dict[str, Bad]] = {
    **{
        f"Ctrl-C while {phase}": (130, "interrupted.", command, interrupted(phase))
        for phase, command in (
            ("reading", "t2v -o made.mp4 < notes.txt"),
            ("decoding", "i2v plain.png --motion in -o made.mp4"),
            ("splitting", "t2v 'a corgi' -o made.mp4"),
            ("loading", "t2v 'a corgi' -o made.mp4"),
            ("sampling", "t2v 'a corgi' -o made.mp4"),
            ("encoding", "t2v 'a corgi' -o made.mp4"),
            ("renaming", "t2v 'a corgi' -o made.mp4"),
        )
    },
    **{
        f"SIGTERM while {phase}": (143, "terminated.", "t2v 'a corgi' -o made.mp4", fault)
        for phase, fault in (
            (phase, terminated(phase)) for phase in ("loading", "sampling", "encoding", "renaming")
        )
    },
}

BAD: Final[dict[str, Bad]] = {
    f"{family}: {name}": case
    for family, cases in (
        ("prompt", PROMPTS),
        ("number", NUMBERS),
        ("word", WORDS),
        ("output", OUTPUTS),
        ("image", IMAGES),
        ("list", LISTS),
        ("weights", WEIGHTS),
        ("plugin", PLUGINS),
        ("record", RECORDS),
        ("end", ENDS),
    )
    for name, case in cases.items()
}
