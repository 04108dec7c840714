"""tokenizer.py - tokenizer.json and tokenizer_config.json from a GGUF file's metadata."""
CONTROL, UNKNOWN, USER_DEFINED, BYTE = 3, 2, 4, 6

# The expressions that cut text into words, by tokenizer.ggml.pre. They are part of the models.
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = {
    "llama-bpe": _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST,
    "qwen2": _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST,
}
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}


def _pre_tokenizer(pre):
    if pre not in _WORDS:
        return dict(_BYTE_LEVEL, use_regex=True)
    split = {"type": "Split", "pattern": {"Regex": _WORDS[pre]}, "behavior": "Isolated",
             "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, dict(_BYTE_LEVEL, use_regex=False)]}


def _template(bos, token):
    def text(name, type_id):
        return {"Sequence": {"id": name, "type_id": type_id}}

    def special(type_id):
        return {"SpecialToken": {"id": token, "type_id": type_id}}

    return {"type": "TemplateProcessing", "single": [special(0), text("A", 0)],
            "pair": [special(0), text("A", 0), special(1), text("B", 1)],
            "special_tokens": {token: {"id": token, "ids": [bos], "tokens": [token]}}}


def _merges_from_scores(tokens, scores):
    """SentencePiece joins the pair whose piece has the best score: an order of merges."""
    ids = {t: i for i, t in enumerate(tokens)}
    merges = []
    for i, piece in enumerate(tokens):
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                merges.append((-scores[i], ids[left], ids[right], left + " " + right))
    return [m[-1] for m in sorted(merges)]


def _sentencepiece(meta, tokens):
    normal = [{"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]
    decoders = [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"}]
    if meta.get("tokenizer.ggml.add_space_prefix", True):
        normal.insert(0, {"type": "Prepend", "prepend": "\u2581"})
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    unknown = meta.get("tokenizer.ggml.unknown_token_id")
    return {
        "normalizer": {"type": "Sequence", "normalizers": normal},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"unk_token": None if unknown is None else tokens[unknown], "fuse_unk": True,
                  "byte_fallback": True,
                  "merges": _merges_from_scores(tokens, meta["tokenizer.ggml.scores"])}}


def _byte_level(meta):
    pre = meta.get("tokenizer.ggml.pre", "gpt-2")
    return {
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": _pre_tokenizer(pre),
        "decoder": dict(_BYTE_LEVEL, use_regex=True),
        "model": {"unk_token": None, "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": pre == "llama-bpe", "merges": meta["tokenizer.ggml.merges"]}}


def files(meta):
    """-> {file name: its contents}; nothing for a tokenizer that is not exported."""
    kind, pre = meta.get("tokenizer.ggml.model"), meta.get("tokenizer.ggml.pre", "gpt-2")
    if kind == "gpt2" and pre not in ("gpt-2", "default", *_WORDS) or kind not in ("gpt2", "llama"):
        return {}
    tokens = meta["tokenizer.ggml.tokens"]
    types = meta.get("tokenizer.ggml.token_type", [1] * len(tokens))
    made = _byte_level(meta) if kind == "gpt2" else _sentencepiece(meta, tokens)
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": types[i] != USER_DEFINED}
             for i, t in enumerate(tokens) if types[i] in (CONTROL, UNKNOWN, USER_DEFINED)]
    inside = range(len(tokens))
    if kind == "gpt2":  # byte-level vocabularies leave the added tokens out
        outside = {a["id"] for a in added}
        inside = [i for i in inside if i not in outside]
    model = {"type": "BPE", "dropout": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, **made["model"]}
    model["vocab"] = {tokens[i]: i for i in inside}
    model["merges"] = model.pop("merges")
    bos, eos = (meta.get("tokenizer.ggml.%s_token_id" % n) for n in ("bos", "eos"))
    pad = meta.get("tokenizer.ggml.padding_token_id")
    add_bos = meta.get("tokenizer.ggml.add_bos_token", kind == "llama")
    post = dict(_BYTE_LEVEL, use_regex=True) if kind == "gpt2" else None
    if add_bos:
        post = _template(bos, tokens[bos])
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": bool(add_bos),
              "add_eos_token": bool(meta.get("tokenizer.ggml.add_eos_token", False)),
              "clean_up_tokenization_spaces": False,
              "added_tokens_decoder": {str(a["id"]): {k: a[k] for k in a if k != "id"}
                                       for a in added}}
    for name, i in (("bos_token", bos), ("eos_token", eos), ("pad_token", pad)):
        config[name] = None if i is None else tokens[i]
    if "tokenizer.chat_template" in meta:
        config["chat_template"] = meta["tokenizer.chat_template"]
    return {
        "tokenizer.json": {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": made["normalizer"], "pre_tokenizer": made["pre_tokenizer"],
            "post_processor": post, "decoder": made["decoder"], "model": model},
        "tokenizer_config.json": config}
