"""Texts of many kinds, the same on every run. Used by the oracle tests."""
import random

FIXED = [
    "", " ", "  ", "\n", "\n\n\n", "\t\t x", " leading", "trailing ", "Hello, world!", "I'm we'RE they'll I'D 'tis",
    "don't DON'T", "1234567890 12 345 6.78e-9", "a1b2c3", "x = [i**2 for i in range(10)]\n\n    return x\r\n",
    "Äpfel und Öl, naïve café", "cafe\u0301 e\u0301\u0302", "日本語のテキスト 漢字", "안녕하세요 세계", "Привет, мир", "مرحبا بالعالم",
    "🙂🙃 👨‍👩‍👧‍👦 🇩🇪 ✊🏽", "½ ² ³ ① Ⅷ ٣ ४", "\u00a0\u2003\u200b\ufeffzero", "<|im_start|>user\nHi<|im_end|>\n",
    "<|im_start|><|im_start|>", "a<|endoftext|>b <|im_end|>  <|fim|>", "<|im_start", "\x00\x01\x7f", "ﬁ ﬂ ẞ ß İ ı ſ",
    "https://example.org/path?q=1&r=%20#frag", "{\"key\": [1, 2, {\"a\": null}]}", "a" * 300, " " * 200 + "x", "ab " * 200,
    "！＂＃ ‘quoted’ “text” … — –", "₿ € $ £ ¥ + < = > ^ ~ |", "\u2581under\u2581score", "x\u0300\u0301\u0302y", "क्षत्रिय नमस्ते", "ทดสอบ",
    "tab\tnew\nline\rreturn\r\nboth\u2028sep\u0085nel", "snake_case CamelCase kebab-case __init__",
]

ALPHABETS = [
    "abcdefghij  ETAOIN'snrt,.!?0123456789\n", "äöüßéèñçÅ øæ", "日本語中文한국어 かな", "🙂👍🏽❤️‍🔥 ", " \t\n\r\u00a0\u3000", "-_=+*/\\|<>[]{}()#@$%^&~`'\"",
    "αβγ АБВ אבג عرب", "\u0301\u0302\u200d\ufe0f a", "<|im_start|>imend _x",
]


def texts(count, seed=7):
    generator = random.Random(seed)
    out = list(FIXED)
    while len(out) < count:
        parts = []
        for _ in range(generator.randint(1, 8)):
            alphabet = generator.choice(ALPHABETS)
            parts.append("".join(generator.choice(alphabet) for _ in range(generator.randint(1, 12))))
        if generator.random() < 0.2:
            parts.append("".join(chr(generator.choice([generator.randint(1, 0x2FFF), generator.randint(0x3000, 0xD7FF),
                                                       generator.randint(0xE000, 0xFFFD), generator.randint(0x10000, 0x1F9FF)]))
                                 for _ in range(10)))
        out.append("".join(parts))
    return out
