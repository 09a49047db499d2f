"""Write tests/data/spoken.ogg: two sentences, spoken by espeak-ng (scripts/install_espeak.sh).

python scripts/make_speech.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # run from a clone, without installing it

from tests.support.speech import sequence, speak, write_sound  # noqa: E402

SENTENCES = ("The lecture begins at nine in the morning.", "A small dog runs across the green field towards the river.")

if __name__ == "__main__":
    sound, words = sequence([speak(sentence) for sentence in SENTENCES], pause_seconds=1.0)
    write_sound(ROOT / "tests" / "data" / "spoken.ogg", sound, codec="libopus", video_seconds=0)
    print(words)
