"""bpe.py - a byte-level BPE tokenizer (the GPT-2 kind): training and encoding.

Text is cut with the GPT-2 pattern (its \\p{L} and \\p{N} written for ASCII),
every byte becomes one printable character by the GPT-2 table, and merges are
learned greedily by pair count; ties go to the lexically smaller pair, so that
the result does not depend on anything but the text.
"""
import re
from collections import Counter, defaultdict

PATTERN = re.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def byte_table():
    """GPT-2's byte -> printable character table."""
    keep = (list(range(ord("!"), ord("~") + 1)) + list(range(0xA1, 0xAD))
            + list(range(0xAE, 0x100)))
    table, extra = {}, 0
    for byte in range(256):
        if byte in keep:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + extra)
            extra += 1
    return table


BYTE_TO_CHAR = byte_table()
CHAR_TO_BYTE = {c: b for b, c in BYTE_TO_CHAR.items()}


def to_chars(piece):
    return "".join(BYTE_TO_CHAR[b] for b in piece.encode("utf-8"))


def train(texts, n_merges):
    """Learns n_merges merges from an iterable of strings."""
    counts = Counter()
    for text in texts:
        counts.update(PATTERN.findall(text))
    words = [(list(to_chars(w)), n) for w, n in sorted(counts.items())]
    pairs, where = Counter(), defaultdict(set)
    for i, (symbols, n) in enumerate(words):
        for pair in zip(symbols, symbols[1:]):
            pairs[pair] += n
            where[pair].add(i)
    merges = []
    while len(merges) < n_merges:
        best = min(pairs, key=lambda p: (-pairs[p], p))
        if pairs[best] <= 0:
            raise ValueError("corpus too small for that many merges")
        merges.append(best)
        for i in sorted(where[best]):
            symbols, n = words[i]
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] -= n
            merge_in_place(symbols, best)
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += n
                where[pair].add(i)
        del pairs[best]
    return merges


def merge_in_place(symbols, pair):
    i = 0
    while i < len(symbols) - 1:
        if symbols[i] == pair[0] and symbols[i + 1] == pair[1]:
            symbols[i:i + 2] = [pair[0] + pair[1]]
        i += 1


class Tokenizer:
    """Encodes and decodes; special tokens are matched verbatim in the text."""

    def __init__(self, tokens, merges, specials):
        self.tokens = tokens
        self.ids = {t: i for i, t in enumerate(tokens)}
        self.merges = merges
        self.rank = {tuple(m): r for r, m in enumerate(merges)}
        self.specials = specials
        self.cache = {}
        self.split = re.compile("(" + "|".join(map(re.escape, specials)) + ")")

    @classmethod
    def from_merges(cls, merges, specials):
        tokens = [BYTE_TO_CHAR[b] for b in
                  sorted(range(256), key=lambda b: ord(BYTE_TO_CHAR[b]))]
        tokens += [a + b for a, b in merges]
        tokens += specials
        return cls(tokens, merges, specials)

    def _piece(self, piece):
        if piece in self.cache:
            return self.cache[piece]
        symbols = list(to_chars(piece))
        while len(symbols) > 1:
            best = min(zip(symbols, symbols[1:]),
                       key=lambda p: self.rank.get(p, 1 << 30))
            if best not in self.rank:
                break
            merge_in_place(symbols, best)
        out = [self.ids[s] for s in symbols]
        self.cache[piece] = out
        return out

    def encode(self, text):
        out = []
        for part in self.split.split(text):
            if part in self.specials:
                out.append(self.ids[part])
            else:
                for piece in PATTERN.findall(part):
                    out.extend(self._piece(piece))
        return out

    def decode(self, ids):
        out = bytearray()
        for i in ids:
            token = self.tokens[i]
            if token in self.specials:
                out += token.encode()
            else:
                out += bytes(CHAR_TO_BYTE[c] for c in token)
        return out.decode("utf-8", "replace")
