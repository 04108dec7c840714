"""grammar.py - the little template language that the corpus is written in.

A template is plain text with two kinds of marks:

    {one|two|three}   one of the alternatives, chosen at random (may be nested,
                      an alternative may be empty)
    [key]             the value of a variable; [Key] is the same value with a
                      capital letter, so [he] -> "she", [He] -> "She"

expand() resolves both, repairs the article ("a owl" -> "an owl") and squeezes
the spaces that empty alternatives leave behind.
"""
import re

_ALT = re.compile(r"\{([^{}]*)\}")
_VAR = re.compile(r"\[([A-Za-z0-9_]+)\]")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])(?!one\b|uni|use)")


def expand(template, rng, env=None):
    text = template
    while True:
        match = _ALT.search(text)
        if match is None:
            break
        pick = rng.choice(match.group(1).split("|"))
        text = text[:match.start()] + pick + text[match.end():]

    def value(match):
        key = match.group(1)
        if env is None:
            raise KeyError(key)
        if key in env:
            return str(env[key])
        low = key[0].lower() + key[1:]
        got = str(env[low])
        return got[0].upper() + got[1:]

    # A value may itself hold a variable, hence two rounds.
    text = _VAR.sub(value, text)
    text = _VAR.sub(value, text)
    text = _ARTICLE.sub(r"\1n ", text)
    text = re.sub(r" {2,}", " ", text)
    text = re.sub(r" ([,.!?])", r"\1", text)
    return text.strip()
